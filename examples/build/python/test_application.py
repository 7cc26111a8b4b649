import unittest

from application import app


class Hello(unittest.TestCase):
    def test_a_name(self):
        self.assertEqual(app.test_client().get("/you").text, "hello you\n")
