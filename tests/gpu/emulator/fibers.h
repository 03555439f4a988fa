// Threads of a block as fibers: one OS thread runs them in turn, a switch happens at a barrier or a warp operation.
//
// With ThreadSanitizer the switches carry no order (__tsan_switch_to_fiber(…, 1)); only barriers do, by acquire and release
// of tokens. Two tokens in turn for each barrier: with one, a fast thread would publish its next phase to a slow one. What the
// emulator itself reads and writes is hidden from the sanitizer (HIDDEN).
#pragma once
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__SANITIZE_THREAD__)
extern "C" {
void* __tsan_create_fiber(unsigned);
void __tsan_destroy_fiber(void*);
void __tsan_switch_to_fiber(void*, unsigned);
void* __tsan_get_current_fiber();
void __tsan_acquire(void*);
void __tsan_release(void*);
}
#define ACQUIRE(token) __tsan_acquire(token)
#define RELEASE(token) __tsan_release(token)
#define HIDDEN __attribute__((no_sanitize("thread"), noinline))
#else
#define ACQUIRE(token) ((void)(token))
#define RELEASE(token) ((void)(token))
#define HIDDEN __attribute__((noinline))
#endif
#if defined(__SANITIZE_ADDRESS__)
extern "C" {
void __sanitizer_start_switch_fiber(void**, const void*, size_t);
void __sanitizer_finish_switch_fiber(void*, const void**, size_t*);
}
#endif

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};

namespace emulator {

enum State { READY, AT_BARRIER, AT_WARP, DONE };
constexpr size_t STACK = 128 * 1024;

struct Fiber {
  ucontext_t context;
  void* sp = nullptr;
  char* stack = nullptr;
  dim3 thread;
  unsigned number = 0;
  State state = READY;
  const char* site = "";                  // file:line where it waits
  unsigned mask = 0;                      // of its warp operation
  uint64_t given = 0, taken = 0;          // what it hands to others, and what it gets
  uint64_t shown = 0;                     // what all of its warp may read until they meet again
  int source = 0;                         // the lane it reads
  unsigned barriers = 0, warp_barriers = 0;
  void *tsan = nullptr, *fake_stack = nullptr;
};

struct Block {
  std::vector<Fiber> fibers;
  Fiber* current = nullptr;
  dim3 index, threads, grid;
  unsigned char* shared = nullptr;
  void (*body)(void*) = nullptr;
  void* argument = nullptr;
  std::string error;
  int order = 0;  // of the fibers: 0 forward, 1 backward, 2 shuffled at every turn
  std::mt19937 random;
  ucontext_t main;
  void *main_sp = nullptr, *main_tsan = nullptr, *main_fake = nullptr;
  const void* main_stack = nullptr;
  size_t main_stack_size = 0;
  char at_launch, at_end, at_barrier[2], at_warp[64][2];  // ThreadSanitizer's tokens
};
inline Block B;

// A switch in a few instructions, where no sanitizer must know of it; else the system's.
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
#define QUICK 1
asm(R"(
.text
.weak emulator_swap
.type emulator_swap,@function
emulator_swap:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
.size emulator_swap,.-emulator_swap
)");
extern "C" void emulator_swap(void** save, void* to);
#endif

HIDDEN inline void to_main(bool dying) {
  Fiber* me = B.current;
  (void)dying;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(dying ? nullptr : &me->fake_stack, B.main_stack, B.main_stack_size);
#endif
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(B.main_tsan, 1);
#endif
#ifdef QUICK
  emulator_swap(&me->sp, B.main_sp);
#else
  swapcontext(&me->context, &B.main);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(me->fake_stack, &B.main_stack, &B.main_stack_size);
#endif
}

HIDDEN inline void to_fiber(Fiber& fiber) {
  B.current = &fiber;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&B.main_fake, fiber.stack, STACK);
#endif
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(fiber.tsan, 1);
#endif
#ifdef QUICK
  emulator_swap(&B.main_sp, fiber.sp);
#else
  swapcontext(&B.main, &fiber.context);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(B.main_fake, nullptr, nullptr);
#endif
}

HIDDEN inline void run_thread() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &B.main_stack, &B.main_stack_size);
#endif
  ACQUIRE(&B.at_launch);
  B.body(B.argument);
  RELEASE(&B.at_end);
  B.current->state = DONE;
  to_main(true);
  abort();
}

HIDDEN inline void prepare(Fiber& fiber) {
#ifdef QUICK
  void** sp = reinterpret_cast<void**>((reinterpret_cast<uintptr_t>(fiber.stack) + STACK) & ~uintptr_t(15));
  *--sp = nullptr;
  *--sp = reinterpret_cast<void*>(&run_thread);
  for (int i = 0; i < 6; i++) *--sp = nullptr;
  fiber.sp = sp;
#else
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack;
  fiber.context.uc_stack.ss_size = STACK;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, run_thread, 0);
#endif
}

}  // namespace emulator
