"""A seccomp agent (runtime-spec, config-linux.md, "Seccomp"): listens at a socket, prints what it is told of each
process as a line of JSON, and answers for its calls. seccomp_unotify(2).

    agent.py SOCKET answer   getppid(2) is 4242, mkdir(2) fails with EBADF, all else goes on
    agent.py SOCKET close    goes away without an answer
"""
import errno, fcntl, os, platform, socket, struct, sys, threading

RECEIVE, SEND, CONTINUE = 0xC0502100, 0xC0182101, 1
GETPPID, MKDIR = (110, 83) if platform.machine() == "x86_64" else (173, 34)


def answer(listener):
    while True:
        request = bytearray(80)
        try:
            fcntl.ioctl(listener, RECEIVE, request)
        except OSError:
            return
        identity, _, _, number = struct.unpack_from("=QIIi", request)
        reply = {GETPPID: (4242, 0, 0), MKDIR: (0, -errno.EBADF, 0)}.get(number, (0, 0, CONTINUE))
        try:
            fcntl.ioctl(listener, SEND, struct.pack("=QqiI", identity, *reply))
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise


path, conduct = sys.argv[1:]
server = socket.socket(socket.AF_UNIX)
server.bind(path)
os.chmod(path, 0o777)
server.listen()
print("ready", flush=True)
while True:
    connection, _ = server.accept()
    message, descriptors, _, _ = socket.recv_fds(connection, 65536, 8)
    while more := connection.recv(65536):
        message += more
    connection.close()
    print(message.decode(), len(descriptors), flush=True)
    if conduct == "close":
        os.close(descriptors[0])
    else:
        threading.Thread(target=answer, args=descriptors, daemon=True).start()
