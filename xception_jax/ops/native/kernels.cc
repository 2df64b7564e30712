// What pure JAX cannot make fast on a CPU: depthwise convolutions by 3x3 windows at stride 1.
//
// Of float32 arrays that are not empty. Each is called with the leading dimensions of a vmap, as so
// many problems. A problem is split into parts by its shape alone, and the parts' sums are added in
// order: the result is the same to the bit however many threads there are, and under vmap.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
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

// ---- Threads: XLA's own, which may be none, or busy for as long as this one waits.

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

// Runs all parts here, with the help of whoever comes in time: it waits for parts that another thread
// has begun, never for a thread to begin. A helper that comes too late finds no part left, and
// touches nothing but the job, which it shares.
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
  for (int64_t i = 1; i < threads; ++i) pool.Schedule([job] { job->Work(); });
  job->Work();
  while (job->done.load(std::memory_order_acquire) < parts) std::this_thread::yield();
}

// ---- Vectors: of 16, 8 or 4 numbers, by what the processor at hand can do.

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

// Body::Do<size>(arguments..., channel) for all channels: by vectors as wide as there are, and what
// is left by narrower ones.
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
  template <class Body, class... Arguments>
  static INLINE void Over(int64_t channels, const Arguments&... arguments) {
    OverChannels<Body, kSizes...>(0, channels, arguments...);
  }
};

// Kernel::Run<Vectors>(arguments, part), compiled for several processors; one is picked when called.
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

// By the shape alone, so that the order of additions is.
int64_t PartsOf(int64_t rows, int64_t numbers) {
  constexpr int64_t kNumbers = 1 << 16, kMost = 32;
  return std::max<int64_t>(1, std::min({rows, numbers / kNumbers, kMost}));
}

// sums [size] = the parts' [parts, size], in order.
void AddUp(const float* of_parts, int64_t parts, int64_t size, float* sums) {
  std::copy(of_parts, of_parts + size, sums);
  for (int64_t part = 1; part < parts; ++part) {
    for (int64_t i = 0; i < size; ++i) sums[i] += of_parts[part * size + i];
  }
}

// ---- The convolution and its gradients.

struct Images {
  const float* data;
  int64_t height, width, channels;
  const float* zeros;  // [channels]: what is seen outside, so that nothing is copied to pad it

  INLINE const float* Pixel(int64_t image, int64_t row, int64_t column) const {
    bool inside = row >= 0 && row < height && column >= 0 && column < width;
    return inside ? data + ((image * height + row) * width + column) * channels : zeros;
  }
};

// What a block of kColumns neighbours sees.
template <int kColumns>
struct Seen {
  const float* pixel[3][kColumns + 2];

  INLINE Seen(const Images& x, int64_t image, int64_t row, int64_t column) {
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < kColumns + 2; ++j) pixel[i][j] = x.Pixel(image, row + i, column + j);
    }
  }

  // What the next block will be the first to see: columns are too far apart for the processor to
  // foresee it.
  INLINE void Fetch(int64_t channels, int64_t channel) const {
    UNROLLED for (int n = 0; n < kColumns; ++n) {
      __builtin_prefetch(pixel[2][n + 2] + kColumns * channels + channel);
    }
  }
};

struct Forward {
  Images x;
  const float* kernel;
  float* out;
  int64_t batch, height, width, top, left, parts, rows;  // the size is that of out

  template <int kColumns>
  struct Block {
    template <int kSize>
    static INLINE void Do(const Seen<kColumns>& seen, const float* kernel, float* out,
                          int64_t channels, int64_t channel) {
      typename Of<kSize>::Type sum[kColumns] = {};
      seen.Fetch(channels, channel);
      UNROLLED for (int i = 0; i < 3; ++i) {
        UNROLLED for (int j = 0; j < 3; ++j) {
          auto weight = At<kSize>(kernel + (3 * i + j) * channels + channel);
          UNROLLED for (int n = 0; n < kColumns; ++n) {
            sum[n] += At<kSize>(seen.pixel[i][n + j] + channel) * weight;
          }
        }
      }
      UNROLLED for (int n = 0; n < kColumns; ++n) At<kSize>(out + n * channels + channel) = sum[n];
    }
  };

  template <int kColumns, class V>
  static INLINE int64_t Row(const Forward& f, int64_t row, int64_t column, const float* kernel) {
    int64_t image = row / f.height, y = row % f.height - f.top, c = f.x.channels;
    for (; column + kColumns <= f.width; column += kColumns) {
      Seen<kColumns> seen(f.x, image, y, column - f.left);
      V::template Over<Block<kColumns>>(c, seen, kernel, f.out + (row * f.width + column) * c, c);
    }
    return column;
  }

  template <class V>
  static INLINE void Run(const Forward& f, int64_t part) {
    for (int64_t row = f.rows * part / f.parts; row < f.rows * (part + 1) / f.parts; ++row) {
      int64_t problem = row / (f.batch * f.height);
      const float* kernel = f.kernel + problem * 9 * f.x.channels;
      Row<1, V>(f, row, Row<4, V>(f, row, 0, kernel), kernel);
    }
  }
};

// A pixel of x meets the gradients of the nine outputs that saw it: times the kernel, they make its
// own gradient; times the pixel, the kernel's.
struct Backward {
  Images gradient;
  const float *x, *kernel;
  float *for_x, *for_kernel;  // the latter [problems, parts, 3, 3, channels]
  int64_t batch, height, width, top, left, parts;

  template <int kColumns>
  struct Block {
    template <int kSize>
    static INLINE void Do(const Seen<kColumns>& seen, const float* x, const float* kernel,
                          float* for_x, float* for_kernel, int64_t channels, int64_t channel) {
      typedef typename Of<kSize>::Type Vector;
      Vector pixel[kColumns], sum[kColumns] = {};
      seen.Fetch(channels, channel);
      UNROLLED for (int n = 0; n < kColumns; ++n) {
        __builtin_prefetch(x + (n + kColumns) * channels + channel);
        pixel[n] = At<kSize>(x + n * channels + channel);
      }
      UNROLLED for (int i = 0; i < 3; ++i) {
        UNROLLED for (int j = 0; j < 3; ++j) {
          int64_t tap = (3 * (2 - i) + 2 - j) * channels + channel;
          auto weight = At<kSize>(kernel + tap);
          Vector product = {};
          UNROLLED for (int n = 0; n < kColumns; ++n) {
            auto slope = At<kSize>(seen.pixel[i][n + j] + channel);
            sum[n] += slope * weight;
            product += slope * pixel[n];
          }
          At<kSize>(for_kernel + tap) += product;
        }
      }
      UNROLLED for (int n = 0; n < kColumns; ++n) {
        At<kSize>(for_x + n * channels + channel) = sum[n];
      }
    }
  };

  template <int kColumns, class V>
  static INLINE int64_t Row(const Backward& b, int64_t row, int64_t column, const float* kernel,
                            float* for_kernel) {
    int64_t image = row / b.height, y = row % b.height + b.top - 2, c = b.gradient.channels;
    for (; column + kColumns <= b.width; column += kColumns) {
      Seen<kColumns> seen(b.gradient, image, y, column + b.left - 2);
      int64_t at = (row * b.width + column) * c;
      V::template Over<Block<kColumns>>(c, seen, b.x + at, kernel, b.for_x + at, for_kernel, c);
    }
    return column;
  }

  template <class V>
  static INLINE void Run(const Backward& b, int64_t part) {
    int64_t problem = part / b.parts, first = part % b.parts, rows = b.batch * b.height;
    int64_t size = 9 * b.gradient.channels;
    float* for_kernel = b.for_kernel + part * size;
    std::memset(for_kernel, 0, size * sizeof(float));
    const float* kernel = b.kernel + problem * size;
    for (int64_t i = rows * first / b.parts; i < rows * (first + 1) / b.parts; ++i) {
      int64_t row = problem * rows + i;
      int64_t column = Row<4, V>(b, row, 0, kernel, for_kernel);
      Row<1, V>(b, row, column, kernel, for_kernel);
    }
  }
};

// ---- What XLA calls.

ffi::Error DepthwiseForward(ffi::ThreadPool pool, Input x, Input kernel, Output out, int64_t top,
                            int64_t left) {
  auto in = x.dimensions().last(4), made = out->dimensions().last(4);
  int64_t numbers = out->element_count(), rows = numbers / (made[2] * made[3]);
  int64_t parts = PartsOf(rows, 4 * numbers);
  std::vector<float> zeros(in[3]);
  RunParts(pool,
           Forward{{x.typed_data(), in[1], in[2], in[3], zeros.data()},
                   kernel.typed_data(), out->typed_data(), in[0], made[1], made[2],
                   top, left, parts, rows},
           parts, numbers);
  return ffi::Error::Success();
}

ffi::Error DepthwiseBackward(ffi::ThreadPool pool, Input x, Input kernel, Input gradient,
                             Output for_x, Output for_kernel, int64_t top, int64_t left) {
  auto in = x.dimensions().last(4), made = gradient.dimensions().last(4);
  int64_t channels = in[3], problem = in[0] * in[1] * in[2] * channels;
  int64_t problems = x.element_count() / problem, parts = PartsOf(in[0] * in[1], problem);
  std::vector<float> zeros(channels), sums(problems * parts * 9 * channels);
  Backward b{{gradient.typed_data(), made[1], made[2], channels, zeros.data()},
             x.typed_data(), kernel.typed_data(), for_x->typed_data(), sums.data(),
             in[0], in[1], in[2], top, left, parts};
  RunParts(pool, b, problems * parts, x.element_count());
  for (int64_t i = 0, size = 9 * channels; i < problems; ++i) {
    AddUp(&sums[i * parts * size], parts, size, for_kernel->typed_data() + i * size);
  }
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(xception_jax_depthwise, DepthwiseForward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Input>()
                                  .Arg<Input>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<int64_t>("top")
                                  .Attr<int64_t>("left"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(xception_jax_depthwise_gradients, DepthwiseBackward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Input>()
                                  .Arg<Input>()
                                  .Arg<Input>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<int64_t>("top")
                                  .Attr<int64_t>("left"));
