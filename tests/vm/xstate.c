/* Lets User-mode Linux 6.1 run on processors whose register state is larger than it knows (AMX and later).
 *
 * It saves and restores the state of its processes by PTRACE_GETREGSET and PTRACE_SETREGSET of NT_X86_XSTATE, with a
 * buffer of fixed size that ends with AVX-512. The host's kernel takes back only the whole state and answers EFAULT
 * otherwise (arch/x86/kernel/fpu/regset.c, xstateregs_set()), upon which UML kills the process. This library, for
 * LD_PRELOAD, completes what UML sets by the rest of the state that the process has. Layout: Intel SDM, volume 1, 13.4.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define STATE_SIZE (64 << 10)
#define XSTATE_BV 512              /* the state's header: which components are not in their initial state */
#define HEADER_END (XSTATE_BV + 64)
#define KNOWN_TO_UML ((UINT64_C(1) << 10) - 1) /* up to bit 9, PKRU */

/* Not on the stack: UML calls from the stacks of its kernel, of 16 KiB. One thread of UML alone calls ptrace(2). */
static char state[STATE_SIZE] __attribute__((aligned(64)));

static long set_state(pid_t pid, const struct iovec *given) {
    struct iovec whole = {state, sizeof state};
    uint64_t have, set;

    if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, NT_X86_XSTATE, &whole) != 0)
        return -1;
    if (given->iov_len < HEADER_END || given->iov_len > whole.iov_len)
        return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, NT_X86_XSTATE, given);
    memcpy(&have, state + XSTATE_BV, sizeof have);
    memcpy(state, given->iov_base, given->iov_len);
    memcpy(&set, state + XSTATE_BV, sizeof set);
    set = (set & KNOWN_TO_UML) | (have & ~KNOWN_TO_UML);
    memcpy(state + XSTATE_BV, &set, sizeof set);
    return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, NT_X86_XSTATE, &whole);
}

/* As the C library declares it: requests that read a word return it, and leave errno to tell an error from it. */
long ptrace(enum __ptrace_request request, ...) {
    va_list arguments;
    va_start(arguments, request);
    pid_t pid = va_arg(arguments, pid_t);
    void *address = va_arg(arguments, void *);
    void *data = va_arg(arguments, void *);
    va_end(arguments);

    if (request == PTRACE_SETREGSET && (uintptr_t)address == NT_X86_XSTATE)
        return set_state(pid, data);
    if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER) {
        long word;
        if (syscall(SYS_ptrace, request, pid, address, &word) < 0)
            return -1;
        errno = 0;
        return word;
    }
    return syscall(SYS_ptrace, request, pid, address, data);
}
