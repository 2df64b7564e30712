// Depthwise convolutions with 3x3 windows at stride 1, and their gradients, of non-empty float32
// arrays. Pure JAX cannot make them as fast on a CPU.

#include "parts.h"

namespace {

struct Images {
  const float* data;
  int64_t height, width, channels;
  const float* zeros;  // [channels]: any pixel outside the image, so that padding needs no copy

  INLINE const float* Pixel(int64_t image, int64_t row, int64_t column) const {
    bool inside = row >= 0 && row < height && column >= 0 && column < width;
    return inside ? data + ((image * height + row) * width + column) * channels : zeros;
  }
};

// The input pixels of a block of kColumns neighbouring outputs.
template <int kColumns>
struct Seen {
  const float* pixel[3][kColumns + 2];

  INLINE Seen(const Images& x, int64_t image, int64_t row, int64_t column) {
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < kColumns + 2; ++j) pixel[i][j] = x.Pixel(image, row + i, column + j);
    }
  }

  // Prefetches the pixels that the next block is the first to read: columns are too far apart in
  // memory for the processor to predict the access.
  INLINE void Fetch(int64_t channels, int64_t channel) const {
    UNROLLED for (int n = 0; n < kColumns; ++n) {
      Prefetch(pixel[2][n + 2], kColumns * channels + channel);
    }
  }
};

struct Forward {
  Images x;
  const float* kernel;
  float* out;
  int64_t batch, height, width, top, left, parts, rows;  // height and width are those of out

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

// For a pixel of x, the gradients of the nine outputs that read it, times the kernel, add up to the
// pixel's gradient; times the pixel, they contribute to the kernel's gradient.
struct Backward {
  Images gradient;
  const float *x, *kernel;
  float *for_x, *for_kernel;  // for_kernel is [problems, parts, 3, 3, channels]
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
        Prefetch(x, (n + kColumns) * channels + channel);
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

// ---- The functions that XLA calls.

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
  AddUp(sums.data(), problems, parts, 9 * channels, for_kernel->typed_data());
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(xception_jax_depthwise, Handler<DepthwiseForward>::Call,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Input>()
                                  .Arg<Input>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<int64_t>("top")
                                  .Attr<int64_t>("left"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(xception_jax_depthwise_gradients, Handler<DepthwiseBackward>::Call,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Input>()
                                  .Arg<Input>()
                                  .Arg<Input>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<int64_t>("top")
                                  .Attr<int64_t>("left"));
