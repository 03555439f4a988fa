// A launch: block after block; in a block, thread after thread until all wait. What cannot happen on a device is an error:
// a barrier that not all threads reach, or reach at different places, a shuffle with a lane that is not there.
#pragma once
#include "fibers.h"

namespace emulator {

HIDDEN inline void barrier(const char* site) {
  Fiber* me = B.current;
  me->site = site;
  me->state = AT_BARRIER;
  char* token = &B.at_barrier[me->barriers++ % 2];
  RELEASE(token);
  to_main(false);
  ACQUIRE(token);
}

// Give `value` to the lanes of `mask`, take that of lane `source`. Only __syncwarp orders memory (`fence`), no shuffle does.
HIDDEN inline uint64_t exchange(unsigned mask, uint64_t value, int source, const char* site, bool fence = false) {
  Fiber* me = B.current;
  me->site = site;
  me->mask = mask;
  me->given = value;
  me->source = source;
  me->state = AT_WARP;
  char* token = &B.at_warp[me->number / 32][fence ? me->warp_barriers++ % 2 : 0];
  if (fence) RELEASE(token);
  to_main(false);
  if (fence) ACQUIRE(token);
  return me->taken;
}

// Every lane shows one number and gets all 32. They must meet once more before a lane shows another.
HIDDEN inline void gather(uint64_t value, uint64_t* all, const char* site) {
  const size_t warp = B.current->number / 32 * 32;
  B.current->shown = value;
  exchange(0xffffffffu, 0, B.current->number % 32, site);
  for (int i = 0; i < 32; i++) all[i] = B.fibers[warp + i].shown;
}

HIDDEN inline void fail(const std::string& what, const char* site) {
  if (!B.error.empty()) return;
  char block[80];
  snprintf(block, sizeof block, " [block (%u, %u, %u)]", B.index.x, B.index.y, B.index.z);
  B.error = what + " at " + site + block;
}

// Let the lanes go whose warp operation is complete. Returns whether there were any.
HIDDEN inline bool complete_warps() {
  bool any = false;
  const size_t n = B.fibers.size();
  for (size_t i = 0; i < n; i++) {
    Fiber& a = B.fibers[i];
    if (a.state != AT_WARP) continue;
    const size_t warp = i / 32 * 32;
    if (!(a.mask >> (i % 32) & 1)) return fail("a lane is missing in its own mask", a.site), false;
    bool all = true;
    for (size_t lane = 0; lane < 32 && all; lane++) {
      if (!(a.mask >> lane & 1)) continue;
      if (warp + lane >= n || B.fibers[warp + lane].state == DONE)
        return fail("a mask names a lane that is not there", a.site), false;
      const Fiber& b = B.fibers[warp + lane];
      all = b.state == AT_WARP && b.mask == a.mask && !strcmp(b.site, a.site);
    }
    if (!all) continue;
    for (size_t lane = 0; lane < 32; lane++) {
      if (!(a.mask >> lane & 1)) continue;
      Fiber& b = B.fibers[warp + lane];
      if (b.source < 0 || b.source > 31 || !(a.mask >> b.source & 1))
        return fail("a shuffle reads a lane outside its mask", a.site), false;
      b.taken = B.fibers[warp + b.source].given;
    }
    for (size_t lane = 0; lane < 32; lane++)
      if (a.mask >> lane & 1) B.fibers[warp + lane].state = READY;
    any = true;
  }
  return any;
}

HIDDEN inline void run_block() {
  const size_t n = B.fibers.size();
  std::vector<unsigned> order(n);
  for (size_t i = 0; i < n; i++) order[i] = B.order == 1 ? n - 1 - i : i;
  while (true) {
    if (B.order == 2) std::shuffle(order.begin(), order.end(), B.random);
    bool ran = false;
    for (unsigned i : order) {
      if (B.fibers[i].state != READY) continue;
      to_fiber(B.fibers[i]);
      ran = true;
    }
    const bool released = complete_warps();
    if (!B.error.empty()) return;
    if (released) continue;
    size_t done = 0, waiting = 0;
    const Fiber* waits = nullptr;
    for (const Fiber& f : B.fibers) {
      done += f.state == DONE;
      waiting += f.state == AT_BARRIER;
      if (f.state == AT_BARRIER || (f.state == AT_WARP && !waits)) waits = &f;
    }
    if (done == n) return;
    if (waiting == n) {
      for (const Fiber& f : B.fibers)
        if (strcmp(f.site, waits->site))
          return fail(std::string("threads meet different barriers: ") + f.site + " and", waits->site);
      for (Fiber& f : B.fibers) f.state = READY;
    } else if (!ran) {
      return fail(
          done ? "a barrier is not reached by all threads: some have ended" : "threads wait at different places", waits->site);
    }
  }
}

template <class... A, size_t... I> void call(void (*kernel)(A...), void** values, std::index_sequence<I...>) {
  kernel(*static_cast<std::remove_cv_t<A>*>(values[I])...);
}

template <class... A>
HIDDEN int launch(
    void (*kernel)(A...), const unsigned* grid, const unsigned* block, size_t shared, int order, unsigned seed, void** values) {
  struct Bound { void (*kernel)(A...); void** values; } bound{kernel, values};
  B.body = [](void* p) { auto* x = static_cast<Bound*>(p); call(x->kernel, x->values, std::index_sequence_for<A...>{}); };
  B.argument = &bound;
  B.error.clear();
  B.order = order;
  B.random.seed(seed);
  B.grid = dim3(grid[0], grid[1], grid[2]);
  B.threads = dim3(block[0], block[1], block[2]);
  const size_t n = size_t(block[0]) * block[1] * block[2];
  if (n == 0 || n > 1024) return B.error = "a block has 1 to 1024 threads", 1;
  std::vector<char*> stacks(n);
  for (auto& stack : stacks) stack = static_cast<char*>(malloc(STACK));
#if defined(__SANITIZE_THREAD__)
  B.main_tsan = __tsan_get_current_fiber();
#endif
  RELEASE(&B.at_launch);
  std::vector<void*> threads;
  std::vector<unsigned char*> arenas;  // kept to the end: ThreadSanitizer must not see one address in two blocks
  const unsigned blocks = grid[0] * grid[1] * grid[2];
  for (unsigned b = 0; b < blocks && B.error.empty(); b++) {
    B.index = dim3(b % grid[0], b / grid[0] % grid[1], b / grid[0] / grid[1]);
    // exactly as long as asked for, so that AddressSanitizer sees an overrun; every number in it is a NaN
    unsigned char* arena = static_cast<unsigned char*>(malloc(shared ? shared : 1));
    for (volatile unsigned char* p = arena; p < arena + shared; p++) *p = 0xff;
    arenas.push_back(arena);
    B.shared = arena;
    B.fibers.assign(n, Fiber());
    for (size_t i = 0; i < n; i++) {
      Fiber& f = B.fibers[i];
      f.number = i;
      f.thread = dim3(i % block[0], i / block[0] % block[1], i / block[0] / block[1]);
      f.stack = stacks[i];
#if defined(__SANITIZE_THREAD__)
      if (b > 0) stacks.push_back(f.stack = static_cast<char*>(malloc(STACK)));  // nor one stack in two blocks
      f.tsan = __tsan_create_fiber(0);
      threads.push_back(f.tsan);
#endif
      prepare(f);
    }
    run_block();
#if !defined(__SANITIZE_THREAD__)
    free(arena);
    arenas.pop_back();
#endif
  }
  ACQUIRE(&B.at_end);
#if defined(__SANITIZE_THREAD__)
  for (void* t : threads) __tsan_destroy_fiber(t);
#endif
  for (auto* arena : arenas) free(arena);
  for (auto* stack : stacks) free(stack);
  return B.error.empty() ? 0 : 1;
}

}  // namespace emulator
