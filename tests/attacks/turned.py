"""Ways to make another program's connection, as texts that run inside a sandbox.

What a process can do to others of its user without netmgr's help: load code into a program as it
starts, change what a running one is about to do, be born with the number of one that has gone.
"""

import textwrap
from typing import Final

# A library that talks before the program that loads it begins.
PRELOADED: Final = r"""
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
__attribute__((constructor)) static void talk(void) {
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
    char got[16] = "";
    if (getaddrinfo(NAME, "5432", &hints, &found)) return;
    int sock = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(sock, found->ai_addr, found->ai_addrlen)) return;
    if (write(sock, "\1hello", 6) != 6 || read(sock, got, sizeof got - 1) <= 0) return;
    puts(got + 1);
}
"""

# Runs a program that connects to one address, and lets it connect to another: its sockaddr is
# written over at the entry of connect(2). ptrace(2) tells arguments alike on every architecture.
TRACER: Final = textwrap.dedent("""
    import ctypes, os, socket, struct, subprocess, sys
    good, harmless, name = sys.argv[1:]
    SYSCALL, INTERRUPT, SEIZE, INFO = 24, 0x4207, 0x4206, 0x420E
    TRACESYSGOOD, ENTRY = 1, 1
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]

    def sockaddr(host):
        return struct.pack("=H", socket.AF_INET) + struct.pack("!H4s", 5432, socket.inet_aton(host))

    before, after = sockaddr(harmless), sockaddr(socket.gethostbyname(name))
    client = '''import socket, sys
    sys.stdin.readline()
    s = socket.socket()
    s.connect(("%s", 5432))
    s.sendall(b"\\\\1hello")
    print(s.recv(9))''' % harmless
    client = client.replace("\\n    ", "\\n")
    child = subprocess.Popen([good, "-c", client], stdin=subprocess.PIPE)
    assert libc.ptrace(SEIZE, child.pid, None, TRACESYSGOOD) == 0, os.strerror(ctypes.get_errno())
    assert libc.ptrace(INTERRUPT, child.pid, None, None) == 0
    child.stdin.write(b"go\\n")
    child.stdin.flush()
    info = ctypes.create_string_buffer(88)
    with open(f"/proc/{child.pid}/mem", "r+b", buffering=0) as memory:
        while os.WIFSTOPPED(os.waitpid(child.pid, 0)[1]):
            libc.ptrace(INFO, child.pid, len(info), ctypes.addressof(info))
            if info.raw[0] == ENTRY:
                where = struct.unpack_from("=Q", info.raw, 40)[0]
                try:
                    memory.seek(where)
                    if memory.read(8) == before:
                        memory.seek(where)
                        memory.write(after)
                except (OSError, OverflowError, ValueError):
                    pass  # no pointer
            libc.ptrace(SYSCALL, child.pid, None, None)
""")

# A program, and once it has gone another one with its number.
REBORN: Final = textwrap.dedent("""
    import ctypes, os, signal, struct, subprocess, sys
    good, bad, client = sys.argv[1:]
    CLONE3 = 435
    libc = ctypes.CDLL(None, use_errno=True)
    for attempt in range(20):
        first = subprocess.Popen([good, "-c", client], stdout=subprocess.PIPE, text=True)
        said = first.communicate()[0]
        wanted = ctypes.c_int(first.pid)
        words = struct.pack("11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0,
                            ctypes.addressof(wanted), 1, 0)
        born = libc.syscall(CLONE3, words, len(words))
        if born == 0:
            os.execv(bad, [bad, "-c", client])
        if born == first.pid:
            print("first", first.pid, said)
            os.waitpid(born, 0)
            break
    else:
        sys.exit(f"the number was always taken: {os.strerror(ctypes.get_errno())}")
""")

# Serves a directory as a file system of its own and answers nothing; then connects. Its user
# namespace maps root to root, as a container with /dev/fuse and no user namespace of its own does.
SILENT: Final = textwrap.dedent("""
    import ctypes, os, socket, sys
    over, name = sys.argv[1:]
    server = os.open("/dev/fuse", os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={server},rootmode=40000,user_id=0,group_id=0"
    if libc.mount(b"silent", over.encode(), b"fuse", 0, options.encode()):
        raise OSError(ctypes.get_errno(), "mount")
    with socket.create_connection((name, 5432), 30) as bank:
        bank.settimeout(30)
        print("connected", flush=True)
        try:
            bank.sendall(b"\1hello")
            print(bank.recv(9), flush=True)
        except ConnectionResetError:
            print("reset", flush=True)
    sys.stdin.read()
""")
