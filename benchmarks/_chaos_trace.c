/* Record every write, truncation, synchronisation and removal of files under $TRACE_HOME into $TRACE_FILE, in
 * order, and what is written to standard output between them; see _chaos_disk.py. Loaded with LD_PRELOAD.
 *
 * A record: one letter, the length of the path (2 bytes), the path, offset (8), length (4), data; little-endian.
 * W write, T truncation, U removal, A standard output; a synchronisation is B where it begins, and S where it
 * succeeded or F where it failed, with the thread's number as offset. X is a failure that was asked for:
 * $TRACE_FAIL is KIND:ERRNO:FROM:COUNT, where KIND is W (writes and truncations) or S, FROM counts calls of that
 * kind from 0, and COUNT says how many fail (0: all from there on). The first write that fails is cut in half.
 */
#define _GNU_SOURCE
#include <errno.h>
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

/* Whether the call of this kind is to fail; 2 for the first one that does. */
static int fails(char kind, const char *path) {
    static long calls = 0;
    const char *wanted = getenv("TRACE_FAIL");
    char what;
    int number;
    long from, count;
    if (wanted == NULL || sscanf(wanted, "%c:%d:%ld:%ld", &what, &number, &from, &count) != 4) return 0;
    if (what != kind) return 0;
    long mine = __sync_fetch_and_add(&calls, 1);
    if (mine < from || (count != 0 && mine >= from + count)) return 0;
    record('X', path, number, NULL, 0);
    errno = number;
    return mine == from ? 2 : 1;
}

/* Writes are recorded before they happen; a synchronisation covers what was recorded before it began. */

ssize_t write(int fd, const void *data, size_t size) {
    char path[4096];
    if (path_of(fd, path, sizeof path)) {
        int failed = fails('W', path);
        if (failed == 1 || (failed == 2 && size < 2)) return -1;
        if (failed == 2) size /= 2;
        struct stat info;
        fstat(fd, &info);
        int appends = fcntl(fd, F_GETFL) & O_APPEND;
        record('W', path, appends ? info.st_size : lseek(fd, 0, SEEK_CUR), data, size);
    } else if (fd == 1 && getenv("TRACE_HOME") != NULL) {
        record('A', "", 0, data, size);
    }
    return syscall(SYS_write, fd, data, size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    char path[4096];
    if (path_of(fd, path, sizeof path)) {
        int failed = fails('W', path);
        if (failed == 1 || (failed == 2 && size < 2)) return -1;
        if (failed == 2) size /= 2;
        record('W', path, offset, data, size);
    }
    return syscall(SYS_pwrite64, fd, data, size, offset);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return pwrite64(fd, data, size, offset); }

int ftruncate64(int fd, off64_t size) {
    char path[4096];
    if (path_of(fd, path, sizeof path)) {
        if (fails('W', path)) return -1;
        record('T', path, size, NULL, 0);
    }
    return syscall(SYS_ftruncate, fd, size);
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

static int synchronised(int fd, long call) {
    char path[4096];
    if (!path_of(fd, path, sizeof path)) return syscall(call, fd);
    long thread = syscall(SYS_gettid);
    record('B', path, thread, NULL, 0);
    long done = fails('S', path) ? -1 : syscall(call, fd);
    int kept = errno;
    record(done == 0 ? 'S' : 'F', path, thread, NULL, 0);
    errno = kept;
    return done;
}

int fsync(int fd) { return synchronised(fd, SYS_fsync); }

int fdatasync(int fd) { return synchronised(fd, SYS_fdatasync); }

int unlink(const char *path) {
    if (watched(path)) record('U', path, 0, NULL, 0);
    return syscall(SYS_unlink, path);
}
