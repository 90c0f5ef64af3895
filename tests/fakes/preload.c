/* What no test can have of a real host, for a program that is started with this in LD_PRELOAD: a network file system,
 * and time that has passed. Everything else goes to the kernel as it is. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

/* The monotonic clock is ahead by the seconds in the file FAKE_AHEAD, as soon as there is one. */
int clock_gettime(clockid_t id, struct timespec *time)
{
    int result = syscall(SYS_clock_gettime, id, time);
    const char *path = getenv("FAKE_AHEAD");
    if (result == 0 && id == CLOCK_MONOTONIC && path) {
        char text[16] = "";
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file >= 0) {
            if (read(file, text, sizeof text - 1) > 0)
                time->tv_sec += atol(text);
            close(file);
        }
    }
    return result;
}

/* What is below FAKE_NFS is on NFS. */
int statfs(const char *path, struct statfs *found)
{
    int result = syscall(SYS_statfs, path, found);
    const char *nfs = getenv("FAKE_NFS");
    if (result == 0 && nfs && strncmp(path, nfs, strlen(nfs)) == 0)
        found->f_type = 0x6969;
    return result;
}

int statfs64(const char *path, struct statfs64 *found)
{
    return statfs(path, (struct statfs *)found);
}
