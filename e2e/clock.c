/*
 * The wall clock of one process, ahead of the machine's by the seconds that the file E2E_CLOCK_FILE holds as a 64-bit number. For LD_PRELOAD.
 *
 * What measures time keeps its pace, and what is waited for takes as long as ever, unlike with a real clock that is set. libfaketime does the
 * same, but not to programs that override C's allocator: it looks symbols up before theirs is ready.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static int64_t ahead(void) {
  static _Atomic(const volatile int64_t *) mapped;
  const volatile int64_t *seconds = atomic_load(&mapped);
  if (!seconds) {
    const char *path = getenv("E2E_CLOCK_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    void *begin = mmap(NULL, sizeof *seconds, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (begin == MAP_FAILED) return 0;
    seconds = begin;
    atomic_store(&mapped, seconds);
  }
  return *seconds;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int failed = (int)syscall(SYS_clock_gettime, clock, now);
  if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += ahead();
  return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec exact;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
  now->tv_sec = exact.tv_sec;
  now->tv_usec = exact.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *also) {
  struct timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now)) return (time_t)-1;
  if (also) *also = now.tv_sec;
  return now.tv_sec;
}

/* librdkafka waits for moments of the clock above; Rust for none. A condition of C's is one of POSIX to glibc. */
int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex, const struct timespec *restrict moment) {
  struct timespec until = *moment;
  until.tv_sec -= ahead();
  int result = pthread_cond_clockwait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex, CLOCK_REALTIME, &until);
  return result == 0 ? thrd_success : result == ETIMEDOUT ? thrd_timedout : thrd_error;
}
