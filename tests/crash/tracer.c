/* Runs a command and all that it starts, numbers their changes to the files below one folder, and makes one go wrong.
 *
 *     tracer ROOT LOG SYNCED FAULT AT ERRNO COMMAND...
 *
 * Each change (a system call that may alter a file or folder below ROOT) has a number, from 1 on, in the order in which
 * all processes and threads make them, and a line in LOG: number, process, its command line, call, result, path, second
 * path, bits, and the mode of a file that was opened. What a file holds when it is synced is copied to SYNCED/<number>: it is what a power cut leaves of it.
 *
 * FAULT, at the change AT:  none      nothing
 *                           before    SIGKILL for all processes, instead of the change
 *                           after     SIGKILL for all processes, after the change
 *                           one       SIGKILL for the process that makes it, instead of the change
 *                           main      SIGKILL for the first process, while the others go on
 *                           fail      the change does not happen, and its call returns ERRNO
 *                           fill      the same, and so for every later change that takes up room
 *
 * A seccomp filter stops the processes at these calls alone, so all else runs at full speed. Static programs, stdio and
 * vfork are seen too, which a preloaded library would miss. Ends as the command ended; with 125 if it cannot trace. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef __x86_64__
#error "the registers of a system call are those of x86-64"
#endif

enum { ROOM = 1, SYNC = 2, CLOSE = 4, OPEN = 8, FOLDER = 16 };

/* Which arguments of a call name what it changes: an open file (`fd`), or paths, each with the argument that holds the
 * folder it starts from (-1: the working directory). */
static const struct call {
    const char *name;
    long number;
    int fd, path, from, path2, from2, bits;
} CALLS[] = {
    {"open", SYS_open, -1, 0, -1, -1, -1, ROOM | OPEN},
    {"openat", SYS_openat, -1, 1, 0, -1, -1, ROOM | OPEN},
    {"creat", SYS_creat, -1, 0, -1, -1, -1, ROOM | OPEN},
    {"mkdir", SYS_mkdir, -1, 0, -1, -1, -1, ROOM},
    {"mkdirat", SYS_mkdirat, -1, 1, 0, -1, -1, ROOM},
    {"rmdir", SYS_rmdir, -1, 0, -1, -1, -1, 0},
    {"unlink", SYS_unlink, -1, 0, -1, -1, -1, 0},
    {"unlinkat", SYS_unlinkat, -1, 1, 0, -1, -1, 0},
    {"rename", SYS_rename, -1, 0, -1, 1, -1, ROOM},
    {"renameat", SYS_renameat, -1, 1, 0, 3, 2, ROOM},
    {"renameat2", SYS_renameat2, -1, 1, 0, 3, 2, ROOM},
    {"link", SYS_link, -1, 0, -1, 1, -1, ROOM},
    {"linkat", SYS_linkat, -1, 1, 0, 3, 2, ROOM},
    {"symlink", SYS_symlink, -1, 1, -1, -1, -1, ROOM},
    {"symlinkat", SYS_symlinkat, -1, 2, 1, -1, -1, ROOM},
    {"truncate", SYS_truncate, -1, 0, -1, -1, -1, ROOM},
    {"chmod", SYS_chmod, -1, 0, -1, -1, -1, 0},
    {"fchmodat", SYS_fchmodat, -1, 1, 0, -1, -1, 0},
    {"utime", SYS_utime, -1, 0, -1, -1, -1, 0},
    {"utimes", SYS_utimes, -1, 0, -1, -1, -1, 0},
    {"utimensat", SYS_utimensat, -1, 1, 0, -1, -1, 0},
    {"fchmod", SYS_fchmod, 0, -1, -1, -1, -1, 0},
    {"write", SYS_write, 0, -1, -1, -1, -1, ROOM},
    {"pwrite", SYS_pwrite64, 0, -1, -1, -1, -1, ROOM},
    {"writev", SYS_writev, 0, -1, -1, -1, -1, ROOM},
    {"pwritev", SYS_pwritev, 0, -1, -1, -1, -1, ROOM},
    {"pwritev2", SYS_pwritev2, 0, -1, -1, -1, -1, ROOM},
    {"ftruncate", SYS_ftruncate, 0, -1, -1, -1, -1, ROOM},
    {"fallocate", SYS_fallocate, 0, -1, -1, -1, -1, ROOM},
    {"sendfile", SYS_sendfile, 0, -1, -1, -1, -1, ROOM},
    {"copy_file_range", SYS_copy_file_range, 2, -1, -1, -1, -1, ROOM},
    {"mmap", SYS_mmap, 4, -1, -1, -1, -1, ROOM},
    {"msync", SYS_msync, -1, -1, -1, -1, -1, 0},
    {"fsync", SYS_fsync, 0, -1, -1, -1, -1, ROOM | SYNC},
    {"fdatasync", SYS_fdatasync, 0, -1, -1, -1, -1, ROOM | SYNC},
    {"close", SYS_close, 0, -1, -1, -1, -1, CLOSE},
};
enum { COUNT = sizeof CALLS / sizeof *CALLS, TASKS = 4096 };

/* One process or thread, and the change that it is in the middle of, between the two stops of the call. */
static struct task {
    pid_t pid;
    const struct call *call;
    long number, result;
    int bits, replace, mode;
    char path[PATH_MAX], path2[PATH_MAX];
} tasks[TASKS];

static const char *root, *synced, *fault;
static long at, changes;
static int log_file, error, ending, processes;
static pid_t first;

static void fail(const char *what) {
    fprintf(stderr, "tracer: %s: %s\n", what, strerror(errno));
    exit(125);
}

static struct task *task_of(pid_t pid) {
    for (int i = 0; i < TASKS; i++)
        if (tasks[i].pid == pid)
            return &tasks[i];
    for (int i = 0; i < TASKS; i++)
        if (!tasks[i].pid) {
            tasks[i].pid = pid;
            processes++;
            return &tasks[i];
        }
    errno = ENOMEM;
    fail("too many processes");
    return NULL;
}

/* Stop at the calls of the table, and at opening and mapping only where that may write. */
static void install_filter(void) {
    struct sock_filter code[COUNT * 6 + 8];
    int n = 0;
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i < COUNT; i++) {
        int flags = CALLS[i].number == SYS_open ? 1 : CALLS[i].number == SYS_openat ? 2 : CALLS[i].number == SYS_mmap ? 3 : -1;
        if (flags < 0) {
            code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CALLS[i].number, 0, 1);
            code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
            continue;
        }
        unsigned writes = flags == 3 ? MAP_SHARED : O_WRONLY | O_RDWR | O_CREAT | O_TRUNC;
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CALLS[i].number, 0, 4);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[flags]));
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, writes, 0, 1);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {n, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        _exit(125);
}

static int below_root(const char *path) {
    size_t length = strlen(root);
    return !strncmp(path, root, length) && (path[length] == '/' || !path[length]);
}

/* What a link of /proc/<pid> leads to; the path of a deleted file has " (deleted)" after it. */
static int follow(pid_t pid, const char *which, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/%d/%s", pid, which);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return length > 0;
}

static int open_file(pid_t pid, int fd, char *path) {
    char which[32];
    snprintf(which, sizeof which, "fd/%d", fd);
    return follow(pid, which, path) && below_root(path);
}

static int writable(pid_t pid, int fd) {
    char name[64], line[128];
    unsigned flags = 0;
    snprintf(name, sizeof name, "/proc/%d/fdinfo/%d", pid, fd);
    FILE *info = fopen(name, "r");
    while (info && fgets(line, sizeof line, info))
        sscanf(line, "flags: %o", &flags);
    if (info)
        fclose(info);
    return (flags & O_ACCMODE) != O_RDONLY;
}

static int named_file(pid_t pid, unsigned long address, long from, char *path) {
    char given[PATH_MAX] = "", which[32] = "cwd";
    for (size_t done = 0; done < sizeof given - 1 && !memchr(given, 0, done);) {
        size_t piece = 256 - (address + done) % 256; /* never beyond the page that the string ends in */
        struct iovec mine = {given + done, piece < sizeof given - 1 - done ? piece : sizeof given - 1 - done};
        struct iovec theirs = {(void *)(address + done), mine.iov_len};
        if (process_vm_readv(pid, &mine, 1, &theirs, 1, 0) <= 0)
            return 0;
        done += mine.iov_len;
    }
    if (*given == '/') {
        snprintf(path, PATH_MAX, "%s", given);
    } else {
        char base[PATH_MAX];
        if ((int)from != AT_FDCWD)
            snprintf(which, sizeof which, "fd/%d", (int)from);
        if (!follow(pid, which, base) || snprintf(path, PATH_MAX, "%s/%s", base, given) >= PATH_MAX)
            return 0;
    }
    return below_root(path);
}

/* Whether a call changes something below the root; then `task` describes it. */
static int is_change(struct task *task, const struct user_regs_struct *regs) {
    const unsigned long args[] = {regs->rdi, regs->rsi, regs->rdx, regs->r10, regs->r8, regs->r9};
    const struct call *call = NULL;
    for (int i = 0; i < COUNT; i++)
        if (CALLS[i].number == (long)regs->orig_rax)
            call = &CALLS[i];
    if (!call)
        return 0;
    task->call = call;
    task->bits = call->bits;
    *task->path = *task->path2 = 0;
    if (call->number == SYS_mmap && !(args[2] & PROT_WRITE))
        return 0;
    if (call->number == SYS_unlinkat && args[2] & AT_REMOVEDIR)
        task->bits |= FOLDER;
    if (call->fd >= 0) {
        if (!open_file(task->pid, args[call->fd], task->path))
            return 0;
        return !(call->bits & CLOSE) || writable(task->pid, args[0]);
    }
    int found = call->path >= 0 &&
                named_file(task->pid, args[call->path], call->from < 0 ? AT_FDCWD : (long)args[call->from], task->path);
    if (call->path2 >= 0)
        found |= named_file(task->pid, args[call->path2], call->from2 < 0 ? AT_FDCWD : (long)args[call->from2], task->path2);
    return found;
}

static void note(const struct task *task) {
    char line[3 * PATH_MAX], words[512], name[64];
    snprintf(name, sizeof name, "/proc/%d/cmdline", task->pid);
    int file = open(name, O_RDONLY);
    ssize_t length = file < 0 ? 0 : read(file, words, sizeof words - 1);
    close(file);
    for (ssize_t i = 0; i < length; i++)
        if (words[i] < ' ')
            words[i] = ' ';
    words[length < 0 ? 0 : length] = 0;
    int n = snprintf(line, sizeof line, "%ld\t%ld\t%s\t%s\t%ld\t%s\t%s\t%d\t%d\n", task->number, (long)(task - tasks), words,
                     task->call->name, task->result, task->path, task->path2, task->bits, task->mode);
    if (write(log_file, line, n) != n)
        fail("the log");
}

/* What was just synced is durable: keep a copy of it. */
static void keep_synced(struct task *task, int fd) {
    char from[64], to[PATH_MAX], piece[65536];
    struct stat found;
    snprintf(from, sizeof from, "/proc/%d/fd/%d", task->pid, fd);
    if (stat(from, &found) == 0 && S_ISDIR(found.st_mode)) {
        task->bits |= FOLDER;
        return;
    }
    snprintf(to, sizeof to, "%s/%ld", synced, task->number);
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (in < 0 || out < 0)
        fail(to);
    for (ssize_t got; (got = read(in, piece, sizeof piece)) > 0;)
        if (write(out, piece, got) != got)
            fail(to);
    close(in);
    close(out);
}

static void kill_all(void) {
    ending = 1;
    for (int i = 0; i < TASKS; i++)
        if (tasks[i].pid)
            kill(tasks[i].pid, SIGKILL);
}

/* A call that a process is about to make. Returns how it is continued: to the end of the call, or to the next one. */
static int enter(struct task *task) {
    struct user_regs_struct regs;
    if (ptrace(PTRACE_GETREGS, task->pid, 0, &regs) || !is_change(task, &regs))
        return PTRACE_CONT;
    task->number = ++changes;
    task->result = task->replace = 0;
    int now = changes == at, later = at && changes > at;
    int fills = !strcmp(fault, "fill") && (task->bits & ROOM) && (now || later);
    if (now && !strcmp(fault, "before"))
        return kill_all(), -1;
    if (now && !strcmp(fault, "one"))
        return kill(task->pid, SIGKILL), -1;
    if (now && !strcmp(fault, "main"))
        kill(first, SIGKILL);
    if (fills || (now && !strcmp(fault, "fail"))) {
        task->replace = error;
        if (!(task->bits & CLOSE)) { /* a file is closed, whatever the call returns */
            regs.orig_rax = -1;
            regs.rax = -error;
            ptrace(PTRACE_SETREGS, task->pid, 0, &regs);
        }
    }
    return PTRACE_SYSCALL;
}

/* The same call has returned. */
static int leave(struct task *task) {
    struct user_regs_struct regs;
    if (!task->call || ptrace(PTRACE_GETREGS, task->pid, 0, &regs))
        return PTRACE_CONT;
    if (task->replace) {
        regs.rax = -task->replace;
        ptrace(PTRACE_SETREGS, task->pid, 0, &regs);
    }
    task->result = regs.rax;
    if ((task->bits & SYNC) && task->result == 0)
        keep_synced(task, regs.rdi);
    struct stat opened;
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/fd/%ld", task->pid, task->result);
    task->mode = (task->bits & OPEN) && task->result >= 0 && stat(name, &opened) == 0 ? opened.st_mode & 07777 : 0;
    note(task);
    task->call = NULL;
    if (task->number == at && !strcmp(fault, "after"))
        return kill_all(), -1;
    return PTRACE_CONT;
}

int main(int count, char **words) {
    if (count < 8)
        return fprintf(stderr, "usage: tracer ROOT LOG SYNCED FAULT AT ERRNO COMMAND...\n"), 125;
    root = words[1];
    synced = words[3];
    fault = words[4];
    at = atol(words[5]);
    error = atoi(words[6]);
    if ((log_file = open(words[2], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) < 0)
        fail(words[2]);
    int ready[2];
    if (pipe2(ready, O_CLOEXEC) || (first = fork()) < 0)
        fail("fork");
    if (!first) {
        char go;
        close(ready[1]);
        if (read(ready[0], &go, 1) != 1)
            _exit(125);
        install_filter();
        execvp(words[7], words + 7);
        _exit(125);
    }
    long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACESECCOMP | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                   PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
    if (ptrace(PTRACE_SEIZE, first, 0, options))
        fail("ptrace");
    task_of(first);
    if (write(ready[1], "!", 1) != 1)
        fail("pipe");
    int status, ended = 125;
    for (pid_t pid; (pid = waitpid(-1, &status, __WALL)) > 0;) {
        struct task *task = task_of(pid);
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (pid == first)
                ended = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            memset(task, 0, offsetof(struct task, path));
            continue;
        }
        int event = status >> 16, how = PTRACE_CONT, signal = 0;
        if (ending)
            kill(pid, SIGKILL);
        else if (event == PTRACE_EVENT_SECCOMP)
            how = enter(task);
        else if (WSTOPSIG(status) == (SIGTRAP | 0x80))
            how = leave(task);
        else if (!event)
            signal = WSTOPSIG(status);
        if (how >= 0)
            ptrace(how, pid, 0, signal);
    }
    return ended;
}
