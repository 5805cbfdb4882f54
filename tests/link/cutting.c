/* A process's last write to the disk: preloaded, it ends the process, or fills the disk, at a chosen call.

   calls_left: how many calls still go well; below 0: all. A killed write leaves half of its bytes.
   n_syncs: how often a file was synchronised. Linux; tests/link/points.py sets and reads both. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

long calls_left = -1;
int disk_full = 0;
long n_syncs = 0;

/* 1 where this call is to fail; does not return where the process ends here. */
static int ends_here(void) {
    if (calls_left < 0) return 0;
    if (calls_left > 0) {
        calls_left--;
        return 0;
    }
    if (!disk_full) kill(getpid(), SIGKILL);
    errno = ENOSPC;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define WRITE_AT(name, offset_type)                                              \
    ssize_t name(int file, const void *data, size_t n, offset_type offset) {     \
        if (calls_left == 0 && !disk_full) REAL(name)(file, data, n / 2, offset); \
        return ends_here() ? -1 : REAL(name)(file, data, n, offset);             \
    }
WRITE_AT(pwrite, off_t)
WRITE_AT(pwrite64, off64_t)

#define TRUNCATE(name, offset_type)                                   \
    int name(int file, offset_type n) {                               \
        return ends_here() ? -1 : REAL(name)(file, n);                \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

#define SYNC(name)                                  \
    int name(int file) {                            \
        n_syncs++;                                  \
        return ends_here() ? -1 : REAL(name)(file); \
    }
SYNC(fsync)
SYNC(fdatasync)
