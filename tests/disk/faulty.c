/* A disk with faults, for tests: a library that is loaded into the host before libc (LD_PRELOAD), and stands
 * between it and the files of its database.
 *
 * The file that FAULTY_DISK names has the faults, as words separated by spaces. It is read at each call, so that
 * a test changes them while the host runs:
 *
 *   delay=MS       each sync takes so long, or until the file says otherwise
 *   write=ERRNO    each write fails
 *   sync=ERRNO     each sync fails
 *   power=N,SEED   at the Nth write from now the power is lost: of the writes since the last sync of their file,
 *                  an arbitrary part is undone, the last one perhaps in its middle, and the process is killed
 *
 * Only regular files whose path contains "/wharf.db" are concerned, without the index that processes share.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A write since the last sync of its file, with the bytes that were there before. */
struct write {
    struct write *before;
    dev_t device;
    ino_t inode;
    int fd;
    off_t offset, size_before;
    size_t length, length_before;
    unsigned char *bytes_before;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct write *unsynced;
static uint64_t writes_left, seed;
static int is_counting;

static int is_of_database(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, "/wharf.db") != NULL && strstr(path, "-shm") == NULL;
}

/* Returns the value of a fault; NULL if there is none. */
static const char *fault(const char *name, char *text, size_t size) {
    const char *path = getenv("FAULTY_DISK");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) return NULL;
    size_t length = fread(text, 1, size - 1, file);
    fclose(file);
    text[length] = 0;
    for (char *word = strtok(text, " \n"); word; word = strtok(NULL, " \n")) {
        size_t known = strlen(name);
        if (strncmp(word, name, known) == 0 && word[known] == '=') return word + known + 1;
    }
    return NULL;
}

static uint64_t draw(void) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return seed >> 33;
}

typedef ssize_t (*pwrite_type)(int, const void *, size_t, off_t);
typedef int (*sync_type)(int);

static pwrite_type real_pwrite(void) {
    static pwrite_type found;
    if (!found) found = (pwrite_type)dlsym(RTLD_NEXT, "pwrite64");
    return found;
}

static void note(int fd, off_t offset, size_t length) {
    struct stat facts;
    struct write *write = calloc(1, sizeof *write);
    fstat(fd, &facts);
    write->device = facts.st_dev;
    write->inode = facts.st_ino;
    write->fd = dup(fd);
    write->offset = offset;
    write->length = length;
    write->size_before = facts.st_size;
    write->bytes_before = malloc(length ? length : 1);
    ssize_t read = pread(fd, write->bytes_before, length, offset);
    write->length_before = read > 0 ? (size_t)read : 0;
    write->before = unsynced;
    unsynced = write;
}

/* Forgets the writes to a file, which are on the disk. */
static void forget(int fd) {
    struct stat facts;
    if (fstat(fd, &facts) != 0) return;
    for (struct write **at = &unsynced; *at;) {
        struct write *write = *at;
        if (write->device == facts.st_dev && write->inode == facts.st_ino) {
            *at = write->before;
            close(write->fd);
            free(write->bytes_before);
            free(write);
        } else {
            at = &write->before;
        }
    }
}

/* Undoes an arbitrary part of the writes that no sync has followed, the last ones first, and ends the process. */
static void lose_power(void) {
    int is_last = 1;
    for (struct write *write = unsynced; write; write = write->before) {
        int is_lost = draw() % 2;
        size_t from = 0;
        /* The last one may be there in part. A disk writes whole sectors. */
        if (is_last) from = write->length ? draw() % (write->length + 1) / 512 * 512 : 0;
        is_last = 0;
        if (!is_lost) continue;
        if (from < write->length_before) {
            real_pwrite()(write->fd, write->bytes_before + from, write->length_before - from,
                          write->offset + (off_t)from);
        }
        if (write->offset + (off_t)write->length > write->size_before) {
            /* The file had grown: its new part is gone, or has never been written. */
            off_t end = write->size_before;
            if (write->offset + (off_t)from > end) end = write->offset + (off_t)from;
            struct stat facts;
            fstat(write->fd, &facts);
            if (facts.st_size == write->offset + (off_t)write->length) {
                (void)!ftruncate(write->fd, end);
            } else {
                size_t grown = write->length - from;
                unsigned char *zeros = calloc(1, grown ? grown : 1);
                size_t kept = from > write->length_before ? from : write->length_before;
                if (kept < write->length)
                    real_pwrite()(write->fd, zeros, write->length - kept, write->offset + (off_t)kept);
                free(zeros);
            }
        }
    }
    raise(SIGKILL);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset) {
    char text[256];
    const char *value;
    if (!is_of_database(fd)) return real_pwrite()(fd, bytes, length, offset);
    if ((value = fault("write", text, sizeof text))) {
        errno = atoi(value);
        return -1;
    }
    pthread_mutex_lock(&lock);
    note(fd, offset, length);
    ssize_t written = real_pwrite()(fd, bytes, length, offset);
    if ((value = fault("power", text, sizeof text))) {
        if (!is_counting) {
            is_counting = 1;
            writes_left = strtoull(value, NULL, 10);
            const char *comma = strchr(value, ',');
            seed = comma ? strtoull(comma + 1, NULL, 10) : 1;
        }
        if (writes_left == 0) lose_power();
        writes_left -= 1;
    }
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    return pwrite64(fd, bytes, length, offset);
}

static int sync_with(const char *name, int fd) {
    char text[256];
    const char *value;
    sync_type real = (sync_type)dlsym(RTLD_NEXT, name);
    if (!is_of_database(fd)) return real(fd);
    for (long passed = 0; (value = fault("delay", text, sizeof text)) && passed < atol(value); passed += 10) {
        struct timespec part = {0, 10 * 1000000};
        nanosleep(&part, NULL);
    }
    if ((value = fault("sync", text, sizeof text))) {
        errno = atoi(value);
        return -1;
    }
    pthread_mutex_lock(&lock);
    int result = real(fd);
    if (result == 0) forget(fd);
    pthread_mutex_unlock(&lock);
    return result;
}

int fdatasync(int fd) { return sync_with("fdatasync", fd); }
int fsync(int fd) { return sync_with("fsync", fd); }
