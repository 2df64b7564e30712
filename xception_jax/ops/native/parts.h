// Running a kernel in parts, on several threads, with the widest vectors of the processor.
//
// The leading dimensions that vmap adds to the arguments of a kernel are its problems. A problem is
// split into parts by its shape alone, and the sums of the parts are added in order. The result is
// therefore the same, bit for bit, for any number of threads, with vmap and without.

#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
using Input = ffi::Buffer<ffi::F32>;
using Output = ffi::ResultBuffer<ffi::F32>;

#define INLINE __attribute__((always_inline)) inline
#if defined(__clang__)
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 64")
#endif

namespace {

// ---- Threads: those of XLA, which may be none, or busy for as long as this one waits.

struct Job {
  void (*run)(const void*, int64_t);
  const void* arguments;
  int64_t parts;
  std::atomic<int64_t> next{0}, done{0};

  void Work() {
    for (int64_t part; (part = next.fetch_add(1)) < parts;) {
      run(arguments, part);
      done.fetch_add(1, std::memory_order_release);
    }
  }
};

// Runs all parts, on this thread and on those of the pool that become free in time. It waits for
// parts that another thread has begun, but never for a thread to begin. A thread that becomes free
// too late finds no part left and touches only the job, which it owns together with this one.
void Share(ffi::ThreadPool& pool, void (*run)(const void*, int64_t), const void* arguments,
           int64_t parts, int64_t numbers) {
  constexpr int64_t kWorthAThread = 1 << 14;
  int64_t threads = std::min({pool.num_threads(), parts, numbers / kWorthAThread});
  if (threads < 2) {
    for (int64_t part = 0; part < parts; ++part) run(arguments, part);
    return;
  }
  auto job = std::make_shared<Job>();
  job->run = run, job->arguments = arguments, job->parts = parts;
  for (int64_t i = 1; i < threads; ++i) {
    try {
      pool.Schedule([job] { job->Work(); });
    } catch (const std::bad_alloc&) {
      break;  // fewer threads; those that have begun use the arguments until the wait below ends
    }
  }
  job->Work();
  while (job->done.load(std::memory_order_acquire) < parts) std::this_thread::yield();
}

// ---- Vectors of 16, 8 or 4 numbers, depending on the processor.

template <int kSize>
struct Of {
  typedef float Type __attribute__((vector_size(4 * kSize), aligned(4), may_alias));
};
template <>
struct Of<1> {
  typedef float Type;
};

template <int kSize>
INLINE typename Of<kSize>::Type& At(float* p) {
  return *reinterpret_cast<typename Of<kSize>::Type*>(p);
}
template <int kSize>
INLINE const typename Of<kSize>::Type& At(const float* p) {
  return *reinterpret_cast<const typename Of<kSize>::Type*>(p);
}

// Fetches p[offset] into the cache. It may lie beyond the array, where a pointer must not be made.
INLINE void Prefetch(const float* p, int64_t offset) {
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(p) + 4 * offset));
}

// Calls Body::Do<size>(arguments..., channel) for all channels: with the widest vectors first, and
// with narrower ones for the remaining channels.
template <class Body, int kSize, int... kNarrower, class... Arguments>
INLINE void OverChannels(int64_t channel, int64_t channels, const Arguments&... arguments) {
  for (; channel + kSize <= channels; channel += kSize) {
    Body::template Do<kSize>(arguments..., channel);
  }
  if constexpr (sizeof...(kNarrower) > 0) {
    OverChannels<Body, kNarrower...>(channel, channels, arguments...);
  }
}

template <int... kSizes>
struct Vectors {
  static constexpr int kRegisters = std::max({kSizes...}) == 16 ? 32 : 16;

  template <class Body, class... Arguments>
  static INLINE void Over(int64_t channels, const Arguments&... arguments) {
    OverChannels<Body, kSizes...>(0, channels, arguments...);
  }
};

// Kernel::Run<Vectors>(arguments, part), compiled for several processors; RunParts picks one.
template <class Kernel>
void RunPlain(const void* arguments, int64_t part) {
  Kernel::template Run<Vectors<4, 1>>(*static_cast<const Kernel*>(arguments), part);
}
#if defined(__x86_64__)
template <class Kernel>
__attribute__((target("avx2,fma"))) void RunAvx2(const void* arguments, int64_t part) {
  Kernel::template Run<Vectors<8, 4, 1>>(*static_cast<const Kernel*>(arguments), part);
}
template <class Kernel>
__attribute__((target("avx512f,avx512vl,avx2,fma"))) void RunAvx512(const void* arguments,
                                                                    int64_t part) {
  Kernel::template Run<Vectors<16, 8, 4, 1>>(*static_cast<const Kernel*>(arguments), part);
}
#endif

template <class Kernel>
void RunParts(ffi::ThreadPool& pool, const Kernel& kernel, int64_t parts, int64_t numbers) {
  void (*run)(const void*, int64_t) = RunPlain<Kernel>;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) {
    run = RunAvx512<Kernel>;
  } else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    run = RunAvx2<Kernel>;
  }
#endif
  Share(pool, run, &kernel, parts, numbers);
}

// The number of parts of a problem. It depends on the shape alone, as must the order of additions.
int64_t PartsOf(int64_t rows, int64_t numbers) {
  constexpr int64_t kNumbers = 1 << 16, kMost = 32;
  return std::max<int64_t>(1, std::min({rows, numbers / kNumbers, kMost}));
}

// Adds up the parts in order: of_parts [problems, parts, size] -> sums [problems, size].
void AddUp(const float* of_parts, int64_t problems, int64_t parts, int64_t size, float* sums) {
  for (; problems > 0; --problems, sums += size) {
    std::copy(of_parts, of_parts + size, sums);
    of_parts += size;
    for (int64_t part = 1; part < parts; ++part, of_parts += size) {
      for (int64_t i = 0; i < size; ++i) sums[i] += of_parts[i];
    }
  }
}

// What XLA calls: no exception may leave it, so a lack of memory becomes an error.
template <auto kFunction>
struct Handler;
template <class... Arguments, ffi::Error (*kFunction)(Arguments...)>
struct Handler<kFunction> {
  static ffi::Error Call(Arguments... arguments) {
    try {
      return kFunction(arguments...);
    } catch (const std::bad_alloc&) {
      return ffi::Error(ffi::ErrorCode::kResourceExhausted, "no memory for a C++ kernel");
    }
  }
};

}  // namespace
