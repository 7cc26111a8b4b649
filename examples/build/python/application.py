"""Says hello."""

from flask import Flask

app = Flask(__name__)


@app.get("/")
@app.get("/<name>")
def hello(name="world"):
    return f"hello {name}\n"
