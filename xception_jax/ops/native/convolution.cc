// Convolutions over groups of channels, with any window and stride, and their gradients, of
// non-empty float32 arrays.
//
// Vectors run along the output channels of a group. An input that is read from memory takes part in
// as many products as there are lanes, and a kernel's vector serves a block of several pixels: the
// same pixel of several images, or neighbours in a row. All pixels of a block have the same taps
// inside the image, so that no zeros of the padding are multiplied.

#include "parts.h"

namespace {

// Calls Body::Do<size, vectors>(arguments..., first, second) for one or two vectors at a time, which
// begin at these channels, until they cover all. A vector may overlap another, and computes the
// same once more.
template <class Body, int kSize, int... kNarrower, class... Arguments>
INLINE void Cover(int64_t channel, int64_t channels, const Arguments&... arguments) {
  for (; channels - channel >= 2 * kSize; channel += 2 * kSize) {
    Body::template Do<kSize, 2>(arguments..., channel, channel + kSize);
  }
  int64_t rest = channels - channel;
  if (rest > kSize) {
    Body::template Do<kSize, 2>(arguments..., channel, channels - kSize);
  } else if (rest == kSize || (2 * rest > kSize && channels > kSize)) {
    Body::template Do<kSize, 1>(arguments..., channels - kSize, 0);
  } else if constexpr (sizeof...(kNarrower) > 0) {
    if (rest > 0) Cover<Body, kNarrower...>(channel, channels, arguments...);
  }
}

template <class Body, int... kSizes, class... Arguments>
INLINE void CoverWith(Vectors<kSizes...>, int64_t channels, const Arguments&... arguments) {
  Cover<Body, kSizes...>(0, channels, arguments...);
}

// ---- What an output reads along one axis.

struct Tap {
  int64_t index, source;  // of the kernel, and of the pixel that it is multiplied by
};
using Axis = std::vector<std::vector<Tap>>;  // the taps inside the image, for each output

// Output o reads the sources o * stride - before + tap.
Axis Forwards(int64_t size, int64_t sources, int64_t window, int64_t stride, int64_t before) {
  Axis axis(size);
  for (int64_t o = 0; o < size; ++o) {
    for (int64_t tap = 0; tap < window; ++tap) {
      int64_t source = o * stride - before + tap;
      if (source >= 0 && source < sources) axis[o].push_back({tap, source});
    }
  }
  return axis;
}

// The same pairs the other way round: a pixel's gradient is made of those of the outputs that read
// it. The taps are counted from the last, so that their order is that of the outputs.
Axis Backwards(int64_t size, int64_t sources, int64_t window, int64_t stride, int64_t before) {
  Axis axis(sources);
  Axis forwards = Forwards(size, sources, window, stride, before);
  for (int64_t o = 0; o < size; ++o) {
    for (Tap tap : forwards[o]) axis[tap.source].push_back({window - 1 - tap.index, o});
  }
  return axis;
}

struct Convolve {
  const float *x, *kernel;  // [problems, batch, ..., groups * in], [problems, ..., in, groups * made]
  float* out;               // [problems, batch, rows, columns, groups * made]
  Axis rows, columns;
  int64_t batch, height, width, window, taps, groups, in, made;  // height, width of x; window's width
  int64_t shift;  // from what a column reads to what the next one reads; 0: there is no such rule

  static constexpr int64_t kImages = 8;

  template <int kPixels>
  struct Block {
    template <int kSize, int kVectors>
    static INLINE void Do(const Convolve& c, const float* x, int64_t x_step, const float* kernel,
                          float* out, int64_t out_step, const std::vector<Tap>& rows,
                          const std::vector<Tap>& columns, int64_t first, int64_t second) {
      typename Of<kSize>::Type sum[kVectors][kPixels] = {};
      int64_t features = c.groups * c.made, channels = c.groups * c.in, all = columns.size();
      // The taps of a row are neighbours in memory, unless other groups lie in between, or a gradient
      // at strides > 1 leaves taps out.
      int64_t run = c.groups == 1 && c.shift ? all : 1;
      for (Tap row : rows) {
        for (int64_t column = 0; column < all; column += run) {
          Tap tap = columns[column];
          const float* w = kernel + (row.index * c.window + tap.index) * c.in * features;
          const float* from = x + (row.source * c.width + tap.source) * channels;
          const float* pixel[kPixels];
          UNROLLED for (int n = 0; n < kPixels; ++n) pixel[n] = from + n * x_step;
          for (int64_t i = 0; i < run * c.in; ++i, w += features) {
            typename Of<kSize>::Type weight[kVectors] = {At<kSize>(w + first)};
            if constexpr (kVectors > 1) weight[1] = At<kSize>(w + second);
            UNROLLED for (int n = 0; n < kPixels; ++n) {
              UNROLLED for (int v = 0; v < kVectors; ++v) sum[v][n] += weight[v] * pixel[n][i];
            }
          }
        }
      }
      UNROLLED for (int n = 0; n < kPixels; ++n) {
        At<kSize>(out + n * out_step + first) = sum[0][n];
        if constexpr (kVectors > 1) At<kSize>(out + n * out_step + second) = sum[1][n];
      }
    }
  };

  // Computes kPixels outputs, of which the first is at row y and this column: neighbours in the row,
  // or the same pixel of several images, as the steps say.
  template <int kPixels, class V>
  INLINE void Compute(int64_t problem, int64_t image, int64_t y, int64_t column, int64_t x_step,
                      int64_t out_step) const {
    const float* from = x + image * height * width * groups * in;
    const float* weights = kernel + problem * taps * in * groups * made;
    float* to = out + ((image * Rows() + y) * Columns() + column) * groups * made;
    for (int64_t g = 0; g < groups; ++g) {
      CoverWith<Block<kPixels>>(V(), made, *this, from + g * in, x_step, weights + g * made,
                                to + g * made, out_step, rows[y], columns[column]);
    }
  }

  INLINE int64_t Rows() const { return rows.size(); }
  INLINE int64_t Columns() const { return columns.size(); }
  INLINE int64_t Blocks() const { return (batch + kImages - 1) / kImages; }

  // Whether so many neighbours from this column on read all taps, a shift apart.
  INLINE bool Wide(int64_t column, int64_t neighbours) const {
    int64_t last = column + neighbours - 1;
    return shift && last < Columns() && int64_t(columns[column].size()) == window &&
           int64_t(columns[last].size()) == window;
  }

  // A part is a row of the outputs of several images.
  template <class V>
  static INLINE void Run(const Convolve& c, int64_t part) {
    constexpr int kPixels = V::kRegisters / 4;
    int64_t y = part % c.Rows(), block = part / c.Rows() % c.Blocks();
    int64_t problem = part / c.Rows() / c.Blocks();
    int64_t first = problem * c.batch + block * kImages;
    int64_t last = std::min(first + kImages, (problem + 1) * c.batch);
    int64_t in = c.groups * c.in, made = c.groups * c.made;
    int64_t in_image = c.height * c.width * in, out_image = c.Rows() * c.Columns() * made;
    for (int64_t column = 0; column < c.Columns();) {
      int64_t image = first, wide = c.Wide(column, kPixels) ? kPixels : 1;
      if (wide > 1) {
        for (; image < last; ++image) {
          c.Compute<kPixels, V>(problem, image, y, column, c.shift * in, made);
        }
      }
      for (; image + kPixels <= last; image += kPixels) {
        c.Compute<kPixels, V>(problem, image, y, column, in_image, out_image);
      }
      for (; image < last; ++image) {
        c.Compute<1, V>(problem, image, y, column, in_image, out_image);
      }
      column += wide;
    }
  }
};

// ---- The kernel's gradient.

struct KernelGradient {
  const float *x, *gradient;
  float* out;  // [problems, parts, taps, in, groups * made]
  Axis rows, columns;  // for each tap: (output, source)
  int64_t batch, height, width, out_height, out_width, stride, groups, in, made, parts, tiles;

  static constexpr int kInputs = 6;

  struct Steps {
    int64_t count, x, gradient;  // how far apart they are in memory
  };

  template <int kCount>
  struct Tile {
    template <int kSize, int kVectors>
    static INLINE void Do(const KernelGradient& k, const float* x, const float* gradient,
                          int64_t images, const std::vector<Tap>& rows,
                          const std::vector<Tap>& columns, float* out, int64_t first,
                          int64_t second) {
      typename Of<kSize>::Type sum[kVectors][kCount] = {};
      int64_t in = k.groups * k.in, made = k.groups * k.made;
      // Over images and columns, in the order that has more of them in the inner loop.
      Steps over[2] = {{images, k.height * k.width * in, k.out_height * k.out_width * made},
                       {int64_t(columns.size()), k.stride * in, made}};
      if (over[0].count > over[1].count) std::swap(over[0], over[1]);
      for (Tap row : rows) {
        for (int64_t m = 0; m < over[0].count; ++m) {
          const float* from =
              x + (row.source * k.width + columns[0].source) * in + m * over[0].x;
          const float* slope = gradient + m * over[0].gradient +
              (row.index * k.out_width + columns[0].index) * made;
          for (int64_t n = over[1].count; n > 0; --n) {
            typename Of<kSize>::Type factor[kVectors] = {At<kSize>(slope + first)};
            if constexpr (kVectors > 1) factor[1] = At<kSize>(slope + second);
            UNROLLED for (int i = 0; i < kCount; ++i) {
              UNROLLED for (int v = 0; v < kVectors; ++v) sum[v][i] += factor[v] * from[i];
            }
            from += over[1].x, slope += over[1].gradient;
          }
        }
      }
      UNROLLED for (int i = 0; i < kCount; ++i) {
        At<kSize>(out + i * made + first) = sum[0][i];
        if constexpr (kVectors > 1) At<kSize>(out + i * made + second) = sum[1][i];
      }
    }
  };

  template <int kCount, class V, class... Arguments>
  static INLINE void WithTile(int64_t count, int64_t channels, const Arguments&... arguments) {
    if (count == kCount) {
      CoverWith<Tile<kCount>>(V(), channels, arguments...);
    } else if constexpr (kCount > 1) {
      WithTile<kCount - 1, V>(count, channels, arguments...);
    }
  }

  // A part is a tap, a group and some of its inputs, over some of the images.
  template <class V>
  static INLINE void Run(const KernelGradient& k, int64_t part) {
    int64_t tile = part % k.tiles, group = part / k.tiles % k.groups;
    part /= k.tiles * k.groups;
    int64_t taps = k.rows.size() * k.columns.size(), tap = part % taps;
    part /= taps;
    int64_t problem = part / k.parts, some = part % k.parts;
    int64_t first = k.batch * some / k.parts, images = k.batch * (some + 1) / k.parts - first;
    first += problem * k.batch;
    int64_t i = k.in * tile / k.tiles, count = k.in * (tile + 1) / k.tiles - i;
    int64_t in = k.groups * k.in, made = k.groups * k.made;
    const float* x = k.x + first * k.height * k.width * in + group * k.in + i;
    const float* gradient = k.gradient + first * k.out_height * k.out_width * made + group * k.made;
    float* out = k.out + ((part * taps + tap) * k.in + i) * made + group * k.made;
    auto& rows = k.rows[tap / k.columns.size()];
    auto& columns = k.columns[tap % k.columns.size()];
    if (columns.empty()) return;  // no output reads this tap: its sum stays zero
    WithTile<kInputs, V>(count, k.made, k, x, gradient, images, rows, columns, out);
  }
};

// For each tap, the outputs that it contributes to.
Axis ByTap(const Axis& forwards, int64_t window) {
  Axis axis(window);
  for (int64_t o = 0; o < int64_t(forwards.size()); ++o) {
    for (Tap tap : forwards[o]) axis[tap.index].push_back({o, tap.source});
  }
  return axis;
}

// ---- The functions that XLA calls.

ffi::Error ConvolutionForward(ffi::ThreadPool pool, Input x, Input kernel, Output out,
                              int64_t groups, int64_t stride, int64_t top, int64_t left) {
  auto in = x.dimensions().last(4), taps = kernel.dimensions().last(4);
  auto made = out->dimensions().last(4);
  int64_t problems = x.element_count() / (in[0] * in[1] * in[2] * in[3]);
  Convolve c{x.typed_data(), kernel.typed_data(), out->typed_data(),
             Forwards(made[1], in[1], taps[0], stride, top),
             Forwards(made[2], in[2], taps[1], stride, left),
             in[0], in[1], in[2], taps[1], taps[0] * taps[1], groups,
             taps[2], taps[3] / groups, stride};
  RunParts(pool, c, problems * c.Blocks() * c.Rows(), out->element_count() * taps[2]);
  return ffi::Error::Success();
}

ffi::Error ConvolutionForX(ffi::ThreadPool pool, Input kernel, Input gradient, Output for_x,
                           int64_t groups, int64_t stride, int64_t top, int64_t left) {
  auto taps = kernel.dimensions().last(4), made = gradient.dimensions().last(4);
  auto in = for_x->dimensions().last(4);
  int64_t window = taps[0] * taps[1], per_group = taps[3] / groups;
  int64_t problems = for_x->element_count() / (in[0] * in[1] * in[2] * in[3]);
  // [taps, in, groups, made] -> [taps from the last, made, groups, in]
  std::vector<float> turned(kernel.element_count());
  float* to = turned.data();
  for (int64_t t = 0; t < problems * window; ++t) {
    int64_t tap = t / window * window + window - 1 - t % window;
    const float* from = kernel.typed_data() + tap * taps[2] * taps[3];
    for (int64_t o = 0; o < per_group; ++o) {
      for (int64_t g = 0; g < groups; ++g) {
        for (int64_t i = 0; i < taps[2]; ++i) *to++ = from[i * taps[3] + g * per_group + o];
      }
    }
  }
  Convolve c{gradient.typed_data(), turned.data(), for_x->typed_data(),
             Backwards(made[1], in[1], taps[0], stride, top),
             Backwards(made[2], in[2], taps[1], stride, left),
             made[0], made[1], made[2], taps[1], window, groups,
             per_group, taps[2], stride == 1 ? 1 : 0};
  RunParts(pool, c, problems * c.Blocks() * c.Rows(), gradient.element_count() * taps[2]);
  return ffi::Error::Success();
}

ffi::Error ConvolutionForKernel(ffi::ThreadPool pool, Input x, Input gradient, Output for_kernel,
                                int64_t groups, int64_t stride, int64_t top, int64_t left) {
  auto in = x.dimensions().last(4), made = gradient.dimensions().last(4);
  auto taps = for_kernel->dimensions().last(4);
  int64_t window = taps[0] * taps[1], numbers = in[0] * in[1] * in[2] * in[3];
  int64_t size = window * taps[2] * taps[3];
  // The sums of the parts take no more memory than x, or than 16 MB: the taps, groups and tiles of
  // a large kernel are parts enough.
  constexpr int64_t kSmall = 1 << 22;
  int64_t most = std::max<int64_t>(1, std::max(numbers, kSmall) / std::max<int64_t>(1, size));
  int64_t problems = x.element_count() / numbers, parts = PartsOf(std::min(in[0], most), numbers);
  int64_t tiles = (taps[2] + KernelGradient::kInputs - 1) / KernelGradient::kInputs;
  std::vector<float> sums(problems * parts * size);
  KernelGradient k{x.typed_data(), gradient.typed_data(), sums.data(),
                   ByTap(Forwards(made[1], in[1], taps[0], stride, top), taps[0]),
                   ByTap(Forwards(made[2], in[2], taps[1], stride, left), taps[1]),
                   in[0], in[1], in[2], made[1], made[2], stride, groups, taps[2],
                   taps[3] / groups, parts, tiles};
  RunParts(pool, k, problems * parts * window * groups * tiles, gradient.element_count() * taps[2]);
  AddUp(sums.data(), problems, parts, size, for_kernel->typed_data());
  return ffi::Error::Success();
}

auto Bind() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<Input>()
      .Arg<Input>()
      .Ret<ffi::Buffer<ffi::F32>>()
      .Attr<int64_t>("groups")
      .Attr<int64_t>("stride")
      .Attr<int64_t>("top")
      .Attr<int64_t>("left");
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(xception_jax_convolution, Handler<ConvolutionForward>::Call, Bind());
XLA_FFI_DEFINE_HANDLER_SYMBOL(xception_jax_convolution_for_x, Handler<ConvolutionForX>::Call,
                              Bind());
XLA_FFI_DEFINE_HANDLER_SYMBOL(xception_jax_convolution_for_kernel,
                              Handler<ConvolutionForKernel>::Call, Bind());
