//! Programs in Python that become the host, for which the kernel answers some calls otherwise: seccomp
//! filters, which need no rights.

/// Numbers of the calls by the processor's name, and ways to install a filter.
const FILTERS: &str = "
import ctypes, fcntl, os, platform, struct, sys
numbers = {
    'x86_64': dict(clone=56, clone3=435, accept4=288, seccomp=317, mprotect=10),
    'aarch64': dict(clone=220, clone3=435, accept4=242, seccomp=277, mprotect=226),
}[platform.machine()]
LOAD, EQUALS, HAS, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, ERROR, ASK = 0x7fff0000, 0x00050000, 0x7fc00000
NUMBER, FLAGS, PROTECTION = 0, 16, 32
libc = ctypes.CDLL(None, use_errno=True)

def install(steps, asks=0):
    code = b''.join(struct.pack('=HBBI', *step) for step in steps)
    kept = ctypes.create_string_buffer(code)
    program = struct.pack('@HP', len(steps), ctypes.addressof(kept))
    assert libc.prctl(38, 1, 0, 0, 0) == 0, 'PR_SET_NO_NEW_PRIVS is refused'
    answer = libc.syscall(numbers['seccomp'], 1, asks, ctypes.c_char_p(program))
    assert answer >= 0, os.strerror(ctypes.get_errno())
    return answer

def become():
    os.execv(sys.argv[1], sys.argv[1:])
";

/// Returns a program that becomes the one of its arguments, which cannot start a thread, as where
/// `TasksMax` is reached.
pub fn without_threads() -> String {
    // `clone3` is unknown, so that the library calls `clone`, whose flags are an argument: 0x10000 is for a
    // thread.
    let rest = "
install([
    (LOAD, 0, 0, NUMBER),
    (EQUALS, 0, 1, numbers['clone3']),
    (RETURN, 0, 0, ERROR | 38),
    (EQUALS, 0, 3, numbers['clone']),
    (LOAD, 0, 0, FLAGS),
    (HAS, 0, 1, 0x10000),
    (RETURN, 0, 0, ERROR | 11),
    (RETURN, 0, 0, ALLOW),
])
become()
";
    [FILTERS, rest].concat()
}

/// Returns a program that becomes the one of its arguments, which cannot make memory executable: the kernel answers
/// with this error, as SELinux (13) and filters of containers (1) do. Files are mapped as before.
pub fn without_executable_memory(error: u32) -> String {
    // The third argument of both calls has the protection, of which 4 is for execution. The linker maps libraries
    // by `mmap`, and changes no protection to that.
    let rest = format!(
        "
install([
    (LOAD, 0, 0, NUMBER),
    (EQUALS, 0, 3, numbers['mprotect']),
    (LOAD, 0, 0, PROTECTION),
    (HAS, 0, 1, 4),
    (RETURN, 0, 0, ERROR | {error}),
    (RETURN, 0, 0, ALLOW),
])
become()
"
    );
    [FILTERS, &rest].concat()
}

/// Returns a program that becomes the one of its arguments, whose first sockets are reset before it
/// accepts them: so many calls of `accept` fail with `ECONNABORTED`.
pub fn aborted_sockets(count: usize) -> String {
    // The kernel asks a copy of this process, which ends with it.
    let rest = "
asked = install([
    (LOAD, 0, 0, NUMBER),
    (EQUALS, 0, 1, numbers['accept4']),
    (RETURN, 0, 0, ASK),
    (RETURN, 0, 0, ALLOW),
], asks=8)
parent = os.getpid()
if os.fork():
    os.close(asked)
    become()
libc.prctl(1, 9, 0, 0, 0)
if os.getppid() != parent:
    os._exit(0)
os.closerange(0, asked)
while True:
    call = bytearray(80)
    fcntl.ioctl(asked, 0xc0502100, call)
    number = struct.unpack_from('=Q', call)[0]
    error, go_on = (-103, 0) if left > 0 else (0, 1)
    left -= 1
    fcntl.ioctl(asked, 0xc0182101, struct.pack('=QqiI', number, 0, error, go_on))
";
    format!("{FILTERS}\nleft = {count}\n{rest}")
}
