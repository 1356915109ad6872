/* ptrace() for the kernel of User Mode Linux, on processors whose registers are more than it knows of.

   Linux 6.1 keeps what PTRACE_GETREGSET tells of NT_X86_XSTATE in 2,696 bytes, and gives these back. Of a
   processor with AMX it is some 11,000 bytes; the first of them come to it as ever, but the way back takes
   the whole or nothing (EFAULT), and the first process inside does not start. So what is missing is added:
   zeros. What is there says in its header which parts are in use, and AMX is never: a process has to ask for
   it (arch_prctl), and this kernel has no such call.

   Sources: Linux, arch/x86/um/os-Linux/registers.c (6.1), arch/x86/kernel/fpu/regset.c (xstateregs_set). */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

static char whole[1 << 16] __attribute__((aligned(64)));

long ptrace(enum __ptrace_request request, ...)
{
	static long (*next)(enum __ptrace_request, ...);
	static size_t size; /* bytes that this processor has, asked once */
	va_list arguments;
	va_start(arguments, request);
	pid_t pid = va_arg(arguments, pid_t);
	void *address = va_arg(arguments, void *);
	void *data = va_arg(arguments, void *);
	va_end(arguments);
	if (!next)
		next = dlsym(RTLD_NEXT, "ptrace");
	if (request != PTRACE_SETREGSET || address != (void *)NT_X86_XSTATE)
		return next(request, pid, address, data);
	const struct iovec *given = data;
	struct iovec all = {whole, sizeof whole};
	if (!size && next(PTRACE_GETREGSET, pid, address, &all) == 0)
		size = all.iov_len;
	if (given->iov_len >= size)
		return next(request, pid, address, data);
	memcpy(whole, given->iov_base, given->iov_len);
	memset(whole + given->iov_len, 0, size - given->iov_len);
	all.iov_len = size;
	return next(request, pid, address, &all);
}
