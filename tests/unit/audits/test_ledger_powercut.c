/* Record every write, truncation, synchronisation and removal of files under $TRACE_HOME into $TRACE_FILE, in
 * order; see test_ledger_powercut.py. Loaded with LD_PRELOAD.
 *
 * A record: one letter, the length of the path (2 bytes), the path, offset (8), length (4), data; little-endian.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int trace = -1;

static void put(const void *data, size_t size) {
    const char *at = data;
    while (size > 0) {
        long done = syscall(SYS_write, trace, at, size);
        if (done <= 0) abort();
        at += done;
        size -= done;
    }
}

static int watched(const char *path) {
    const char *home = getenv("TRACE_HOME");
    return home != NULL && strncmp(path, home, strlen(home)) == 0;
}

static int path_of(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return watched(path);
}

static void record(char what, const char *path, int64_t offset, const void *data, uint32_t size) {
    uint16_t length = strlen(path);
    pthread_mutex_lock(&lock);
    if (trace < 0) trace = syscall(SYS_openat, AT_FDCWD, getenv("TRACE_FILE"), O_CREAT | O_WRONLY | O_APPEND, 0600);
    put(&what, 1);
    put(&length, 2);
    put(path, length);
    put(&offset, 8);
    put(&size, 4);
    if (data != NULL) put(data, size);
    pthread_mutex_unlock(&lock);
}

/* Writes are recorded before they happen and synchronisation after it succeeded: never more durable than it is. */

ssize_t write(int fd, const void *data, size_t size) {
    char path[4096];
    if (path_of(fd, path, sizeof path)) {
        struct stat info;
        fstat(fd, &info);
        int appends = fcntl(fd, F_GETFL) & O_APPEND;
        record('W', path, appends ? info.st_size : lseek(fd, 0, SEEK_CUR), data, size);
    }
    return syscall(SYS_write, fd, data, size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    char path[4096];
    if (path_of(fd, path, sizeof path)) record('W', path, offset, data, size);
    return syscall(SYS_pwrite64, fd, data, size, offset);
}

int ftruncate64(int fd, off64_t size) {
    char path[4096];
    if (path_of(fd, path, sizeof path)) record('T', path, size, NULL, 0);
    return syscall(SYS_ftruncate, fd, size);
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

static int synchronised(int fd, long done) {
    char path[4096];
    if (done == 0 && path_of(fd, path, sizeof path)) record('S', path, 0, NULL, 0);
    return done;
}

int fsync(int fd) { return synchronised(fd, syscall(SYS_fsync, fd)); }

int fdatasync(int fd) { return synchronised(fd, syscall(SYS_fdatasync, fd)); }

int unlink(const char *path) {
    if (watched(path)) record('U', path, 0, NULL, 0);
    return syscall(SYS_unlink, path);
}
