/* What a test takes away from a process while it runs: room on the disk, the right to write, a disk that answers, names.
 *
 * Preloaded (LD_PRELOAD); FAULTS_SWITCHES names a folder, and a fault is active while a file of its name exists:
 *
 *   full      writes to regular files, and making folders, fail with ENOSPC; a file can still be cut, or be made as a hole
 *   broken    fsync and fdatasync fail with EIO
 *   slow      fsync and fdatasync take three seconds
 *   unread    opening a certificate to read it takes three seconds
 *   readonly  nothing can be opened for writing or made: EROFS; with a path in the file, nothing below that one
 *   nameless  getaddrinfo fails with EAI_AGAIN
 *
 * A name that ends in `.fault` resolves to 127.0.0.1. Only calls of the C library are concerned: files and names, which the
 * product handles with the standard library; not its sockets.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int is_on(const char *name) {
    const char *folder = getenv("FAULTS_SWITCHES");
    char path[4096];
    if (!folder) return 0;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int before = errno, on = access(path, F_OK) == 0;
    errno = before;
    return on;
}

static int is_file(int fd) {
    struct stat found;
    return fstat(fd, &found) == 0 && S_ISREG(found.st_mode);
}

static int no_room(int fd) {
    if (!is_file(fd) || !is_on("full")) return 0;
    errno = ENOSPC;
    return 1;
}

static int is_read_only(const char *path) {
    char name[4096], below[4096];
    if (!is_on("readonly")) return 0;
    snprintf(name, sizeof name, "%s/readonly", getenv("FAULTS_SWITCHES"));
    int before = errno, fd = REAL(open)(name, O_RDONLY);
    ssize_t length = fd < 0 ? 0 : read(fd, below, sizeof below);
    if (fd >= 0) close(fd);
    errno = before;
    return length <= 0 || strncmp(path, below, (size_t)length) == 0;
}

static int may_not_make(const char *path) {
    if (access(path, F_OK) == 0) { errno = EEXIST; return 1; }
    if (is_read_only(path)) { errno = EROFS; return 1; }
    if (is_on("full")) { errno = ENOSPC; return 1; }
    return 0;
}

static int may_not_open(const char *path, int flags) {
    if ((flags & (O_WRONLY | O_RDWR | O_CREAT)) && is_read_only(path)) { errno = EROFS; return 1; }
    /* Existing files can be opened on a full disk. */
    return 0;
}

ssize_t write(int fd, const void *from, size_t count) { return no_room(fd) ? -1 : REAL(write)(fd, from, count); }
ssize_t writev(int fd, const struct iovec *from, int count) { return no_room(fd) ? -1 : REAL(writev)(fd, from, count); }
ssize_t pwrite(int fd, const void *from, size_t count, off_t at) { return no_room(fd) ? -1 : REAL(pwrite)(fd, from, count, at); }
ssize_t pwrite64(int fd, const void *from, size_t count, off64_t at) { return no_room(fd) ? -1 : REAL(pwrite64)(fd, from, count, at); }
ssize_t pwritev(int fd, const struct iovec *from, int count, off_t at) { return no_room(fd) ? -1 : REAL(pwritev)(fd, from, count, at); }
int fallocate64(int fd, int mode, off64_t at, off64_t length) { return no_room(fd) ? -1 : REAL(fallocate64)(fd, mode, at, length); }
int posix_fallocate64(int fd, off64_t at, off64_t length) { return no_room(fd) ? ENOSPC : REAL(posix_fallocate64)(fd, at, length); }
int mkdir(const char *path, mode_t mode) { return may_not_make(path) ? -1 : REAL(mkdir)(path, mode); }

static int stalls(void) {
    if (is_on("slow")) sleep(3);
    if (!is_on("broken")) return 0;
    errno = EIO;
    return 1;
}

int fsync(int fd) { return stalls() ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return stalls() ? -1 : REAL(fdatasync)(fd); }

static mode_t mode_of(int flags, va_list rest) { return (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0; }

static void take_time(const char *path, int flags) {
    size_t length = strlen(path);
    if ((flags & O_ACCMODE) == O_RDONLY && length > 4 && strcmp(path + length - 4, ".pem") == 0 && is_on("unread")) sleep(3);
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_of(flags, rest);
    va_end(rest);
    take_time(path, flags);
    return may_not_open(path, flags) ? -1 : REAL(open)(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_of(flags, rest);
    va_end(rest);
    take_time(path, flags);
    return may_not_open(path, flags) ? -1 : REAL(open64)(path, flags, mode);
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    size_t length = node ? strlen(node) : 0;
    if (node && is_on("nameless")) return EAI_AGAIN;
    if (length > 6 && strcmp(node + length - 6, ".fault") == 0) node = "127.0.0.1";
    return REAL(getaddrinfo)(node, service, hints, found);
}
