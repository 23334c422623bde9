/* Journals what a program does to the files below one directory, so that a test can build the disk as
 * a power cut would have left it. Preloaded (LD_PRELOAD); see src/powerloss for the reader.
 *
 * DECKPORT_POWER_ROOT     the directory
 * DECKPORT_POWER_JOURNAL  the journal, outside of it
 *
 * Each entry is written by one write() while a lock is held that the operation itself was done under,
 * so the order of entries is the order of operations, across threads and processes. Files are known by
 * their inode, so descriptors may be duplicated and inherited. fsync and fdatasync are journaled and
 * not carried out: the journal decides what is durable.
 *
 * Entry, little-endian: u32 length of the rest | u8 operation | fields. A path is u32 length | bytes.
 *   1 open     inode u64 | flags u32 (1 directory, 2 truncated) | path
 *   2 write    inode u64 | offset u64 | bytes
 *   3 length   inode u64 | length u64
 *   4 sync     inode u64
 *   5 rename   path | path
 *   6 unlink   path
 *   7 mkdir    path
 *   8 rmdir    path
 *   9 link     path | path
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int journal = -1;
static pid_t owner;
static dev_t device;
static char root[PATH_MAX];
static size_t root_length;

static int sys_open(const char *path, int flags, mode_t mode) {
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

/* Not set up: not watched. A child that was forked locks for itself, on a description of its own. */
static int begin(void) {
    pthread_mutex_lock(&mutex);
    if (owner != getpid()) {
        owner = getpid();
        const char *dir = getenv("DECKPORT_POWER_ROOT"), *file = getenv("DECKPORT_POWER_JOURNAL");
        journal = -1;
        struct stat st;
        if (dir && file && realpath(dir, root) && stat(root, &st) == 0) {
            root_length = strlen(root);
            device = st.st_dev;
            journal = sys_open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
            /* Out of the way of programs that expect low numbers. */
            int high = (int)syscall(SYS_fcntl, journal, F_DUPFD_CLOEXEC, 700);
            if (high >= 0) {
                syscall(SYS_close, journal);
                journal = high;
            }
        }
    }
    if (journal >= 0) syscall(SYS_flock, journal, LOCK_EX);
    return journal >= 0;
}

static void end(void) {
    int saved = errno;
    if (journal >= 0) syscall(SYS_flock, journal, LOCK_UN);
    pthread_mutex_unlock(&mutex);
    errno = saved;
}

struct entry {
    char head[64];
    size_t used;
};

static void put(struct entry *entry, const void *bytes, size_t count) {
    memcpy(entry->head + entry->used, bytes, count);
    entry->used += count;
}

static void put_u32(struct entry *entry, uint32_t value) { put(entry, &value, 4); }
static void put_u64(struct entry *entry, uint64_t value) { put(entry, &value, 8); }

static struct entry start(uint8_t operation) {
    struct entry entry = {.used = 4};
    put(&entry, &operation, 1);
    return entry;
}

static void finish(struct entry *entry, const struct iovec *tail, int tails) {
    struct iovec all[8] = {{entry->head, entry->used}};
    size_t total = entry->used;
    for (int i = 0; i < tails; i++) {
        all[i + 1] = tail[i];
        total += tail[i].iov_len;
    }
    uint32_t length = (uint32_t)(total - 4);
    memcpy(entry->head, &length, 4);
    if (syscall(SYS_writev, journal, all, tails + 1) != (long)total) {
        static const char said[] = "power-loss shim: the journal could not be written\n";
        syscall(SYS_write, 2, said, sizeof said - 1);
        syscall(SYS_exit_group, 99);
    }
}

/* The absolute path, if it is below the root. */
static int resolve(int dir, const char *path, char *out) {
    char base[PATH_MAX];
    if (path[0] == '/') {
        base[0] = 0;
    } else if (dir == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) return 0;
    } else {
        char name[64];
        snprintf(name, sizeof name, "/proc/self/fd/%d", dir);
        ssize_t length = readlink(name, base, sizeof base - 1);
        if (length < 0) return 0;
        base[length] = 0;
    }
    if (snprintf(out, PATH_MAX, base[0] ? "%s/%s" : "%s%s", base, path) >= PATH_MAX) return 0;
    return strncmp(out, root, root_length) == 0 && (out[root_length] == '/' || !out[root_length]);
}

static void log_paths(uint8_t operation, const char *one, const char *two) {
    struct entry entry = start(operation);
    uint32_t lengths[2] = {(uint32_t)strlen(one), two ? (uint32_t)strlen(two) : 0};
    struct iovec tail[4] = {{&lengths[0], 4}, {(void *)one, lengths[0]}, {&lengths[1], 4},
                            {(void *)two, lengths[1]}};
    finish(&entry, tail, two ? 4 : 2);
}

/* A regular file or directory on the root's device; the reader knows which are below the root. */
static int watched(int fd, struct stat *st) {
    return fstat(fd, st) == 0 && st->st_dev == device
        && (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode));
}

static int do_open(int dir, const char *path, int flags, mode_t mode) {
    if (!begin()) {
        end();
        return (int)syscall(SYS_openat, dir, path, flags, mode);
    }
    int fd = (int)syscall(SYS_openat, dir, path, flags, mode);
    char full[PATH_MAX];
    struct stat st;
    int saved = errno;
    if (fd >= 0 && watched(fd, &st) && resolve(dir, path, full)) {
        struct entry entry = start(1);
        put_u64(&entry, st.st_ino);
        put_u32(&entry, (S_ISDIR(st.st_mode) ? 1u : 0u) | (flags & O_TRUNC ? 2u : 0u));
        put_u32(&entry, (uint32_t)strlen(full));
        struct iovec tail = {full, strlen(full)};
        finish(&entry, &tail, 1);
    }
    errno = saved;
    end();
    return fd;
}

#define MODE(flags, last) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list list; \
        va_start(list, last); \
        mode = va_arg(list, mode_t); \
        va_end(list); \
    }

int open(const char *path, int flags, ...) { MODE(flags, flags) return do_open(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags, flags) return do_open(AT_FDCWD, path, flags, mode); }
int openat(int dir, const char *path, int flags, ...) { MODE(flags, flags) return do_open(dir, path, flags, mode); }
int openat64(int dir, const char *path, int flags, ...) { MODE(flags, flags) return do_open(dir, path, flags, mode); }
int creat(const char *path, mode_t mode) { return do_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return do_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

/* offset < 0: where the descriptor stands. */
static ssize_t do_write(int fd, const struct iovec *parts, int count, off_t offset) {
    struct stat st;
    int watch = begin() && watched(fd, &st) && S_ISREG(st.st_mode);
    off_t at = offset;
    if (!watch) {
        /* A pipe may block: not under the lock. */
        end();
    } else if (offset < 0) {
        int flags = (int)syscall(SYS_fcntl, fd, F_GETFL);
        at = flags & O_APPEND ? st.st_size : lseek(fd, 0, SEEK_CUR);
    }
    ssize_t written = offset < 0 ? syscall(SYS_writev, fd, parts, count)
                                 : syscall(SYS_pwritev, fd, parts, count, offset, 0);
    if (!watch) return written;
    int saved = errno;
    size_t left = written > 0 ? (size_t)written : 0;
    for (int i = 0; i < count && left > 0; i++) {
        size_t length = parts[i].iov_len < left ? parts[i].iov_len : left;
        struct entry entry = start(2);
        put_u64(&entry, st.st_ino);
        put_u64(&entry, (uint64_t)at);
        struct iovec tail = {parts[i].iov_base, length};
        finish(&entry, &tail, 1);
        at += (off_t)length;
        left -= length;
    }
    errno = saved;
    end();
    return written;
}

ssize_t write(int fd, const void *bytes, size_t count) {
    struct iovec part = {(void *)bytes, count};
    return do_write(fd, &part, 1, -1);
}
ssize_t writev(int fd, const struct iovec *parts, int count) { return do_write(fd, parts, count, -1); }
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
    struct iovec part = {(void *)bytes, count};
    return do_write(fd, &part, 1, offset);
}
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) { return pwrite(fd, bytes, count, offset); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) { return do_write(fd, parts, count, offset); }
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) { return do_write(fd, parts, count, offset); }

/* What the kernel copies by itself would pass unseen: callers fall back to read and write. */
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t count, unsigned flags) {
    (void)in, (void)from, (void)out, (void)to, (void)count, (void)flags;
    errno = ENOSYS;
    return -1;
}

static void log_length(const struct stat *st, uint64_t length) {
    struct entry entry = start(3);
    put_u64(&entry, st->st_ino);
    put_u64(&entry, length);
    finish(&entry, NULL, 0);
}

int ftruncate(int fd, off_t length) {
    struct stat st;
    int watch = begin() && watched(fd, &st);
    int result = (int)syscall(SYS_ftruncate, fd, length);
    int saved = errno;
    if (watch && result == 0) log_length(&st, (uint64_t)length);
    errno = saved;
    end();
    return result;
}
int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

static int do_allocate(int fd, int mode, off_t offset, off_t length) {
    struct stat before, after;
    int watch = begin() && watched(fd, &before);
    int result = (int)syscall(SYS_fallocate, fd, mode, offset, length);
    int saved = errno;
    if (watch && result == 0 && fstat(fd, &after) == 0 && after.st_size != before.st_size)
        log_length(&after, (uint64_t)after.st_size);
    errno = saved;
    end();
    return result;
}
int fallocate(int fd, int mode, off_t offset, off_t length) { return do_allocate(fd, mode, offset, length); }
int fallocate64(int fd, int mode, off64_t offset, off64_t length) { return do_allocate(fd, mode, offset, length); }
int posix_fallocate(int fd, off_t offset, off_t length) { return do_allocate(fd, 0, offset, length) ? errno : 0; }
int posix_fallocate64(int fd, off64_t offset, off64_t length) { return do_allocate(fd, 0, offset, length) ? errno : 0; }

static int do_sync(int fd, long number) {
    struct stat st;
    if (begin() && watched(fd, &st)) {
        struct entry entry = start(4);
        put_u64(&entry, st.st_ino);
        finish(&entry, NULL, 0);
        end();
        return 0;
    }
    end();
    return (int)syscall(number, fd);
}
int fsync(int fd) { return do_sync(fd, SYS_fsync); }
int fdatasync(int fd) { return do_sync(fd, SYS_fdatasync); }

static int do_rename(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    char one[PATH_MAX], two[PATH_MAX];
    int watch = begin() && resolve(from_dir, from, one) && resolve(to_dir, to, two);
    int result = (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    int saved = errno;
    if (watch && result == 0) log_paths(5, one, two);
    errno = saved;
    end();
    return result;
}
int rename(const char *from, const char *to) { return do_rename(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int from_dir, const char *from, int to_dir, const char *to) { return do_rename(from_dir, from, to_dir, to, 0); }
int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) { return do_rename(from_dir, from, to_dir, to, flags); }

static int do_unlink(int dir, const char *path, int flags) {
    char full[PATH_MAX];
    int watch = begin() && resolve(dir, path, full);
    int result = (int)syscall(SYS_unlinkat, dir, path, flags);
    int saved = errno;
    if (watch && result == 0) log_paths(flags & AT_REMOVEDIR ? 8 : 6, full, NULL);
    errno = saved;
    end();
    return result;
}
int unlink(const char *path) { return do_unlink(AT_FDCWD, path, 0); }
int unlinkat(int dir, const char *path, int flags) { return do_unlink(dir, path, flags); }
int rmdir(const char *path) { return do_unlink(AT_FDCWD, path, AT_REMOVEDIR); }

static int do_mkdir(int dir, const char *path, mode_t mode) {
    char full[PATH_MAX];
    int watch = begin() && resolve(dir, path, full);
    int result = (int)syscall(SYS_mkdirat, dir, path, mode);
    int saved = errno;
    if (watch && result == 0) log_paths(7, full, NULL);
    errno = saved;
    end();
    return result;
}
int mkdir(const char *path, mode_t mode) { return do_mkdir(AT_FDCWD, path, mode); }
int mkdirat(int dir, const char *path, mode_t mode) { return do_mkdir(dir, path, mode); }

static int do_link(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    char one[PATH_MAX], two[PATH_MAX];
    int watch = begin() && resolve(from_dir, from, one) && resolve(to_dir, to, two);
    int result = (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
    int saved = errno;
    if (watch && result == 0) log_paths(9, one, two);
    errno = saved;
    end();
    return result;
}
int link(const char *from, const char *to) { return do_link(AT_FDCWD, from, AT_FDCWD, to, 0); }
int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) { return do_link(from_dir, from, to_dir, to, flags); }
