"""Lets libseccomp compile policies: seccomp_init(3), seccomp_rule_add(3), seccomp_export_bpf(3).

Each line on standard input is `{"default": action, "rules": [[call, action, [[argument, operator, value, second], …]],
…]}`, for x86_64 and i386. Each answer is a line: the program in hexadecimal digits, or `refused`.
"""
import ctypes, json, sys, tempfile

try:
    library = ctypes.CDLL("libseccomp.so.2")
except OSError:
    sys.exit(77)


class Comparison(ctypes.Structure):
    _fields_ = [("argument", ctypes.c_uint), ("operator", ctypes.c_int), ("value", ctypes.c_uint64), ("second", ctypes.c_uint64)]


library.seccomp_init.restype = ctypes.c_void_p
library.seccomp_rule_add_array.argtypes = [
    ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(Comparison)
]
library.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
library.seccomp_release.argtypes = [ctypes.c_void_p]


def program(policy):
    context = library.seccomp_init(ctypes.c_uint32(policy["default"]))
    try:
        if library.seccomp_arch_add(context, 0x40000003):
            return "refused"
        for call, action, comparisons in policy["rules"]:
            # runc passes no rule for the default action on, and the library refuses it.
            if action == policy["default"]:
                continue
            number = library.seccomp_syscall_resolve_name(call.encode())
            array = (Comparison * max(1, len(comparisons)))(*(Comparison(*one) for one in comparisons))
            if library.seccomp_rule_add_array(context, action, number, len(comparisons), array):
                return "refused"
        with tempfile.TemporaryFile() as file:
            if library.seccomp_export_bpf(context, file.fileno()):
                return "refused"
            file.seek(0)
            return file.read().hex()
    finally:
        library.seccomp_release(context)


for line in sys.stdin:
    print(program(json.loads(line)), flush=True)
