// The per-channel sums of batch normalization and its gradients: for two float32 arrays [rows,
// channels], the sums of the first and of their product. Each array is read once.

#include "parts.h"

namespace {

struct ColumnSums {
  const float *a, *b;
  float* sums;  // [problems, parts, 2, channels]
  int64_t rows, channels, parts;

  // kRows rows are added up first, then added to the sums: fewer stores and less rounding.
  template <int kRows>
  struct Block {
    template <int kSize>
    static INLINE void Do(const float* a, const float* b, float* sums, int64_t channels,
                          int64_t channel) {
      typename Of<kSize>::Type sum = {}, product = {};
      UNROLLED for (int n = 0; n < kRows; ++n) {
        auto number = At<kSize>(a + n * channels + channel);
        sum += number;
        product += number * At<kSize>(b + n * channels + channel);
      }
      At<kSize>(sums + channel) += sum;
      At<kSize>(sums + channels + channel) += product;
    }
  };

  template <int kRows, class V>
  static INLINE int64_t Rows(const ColumnSums& c, int64_t row, int64_t end, float* sums) {
    for (; row + kRows <= end; row += kRows) {
      int64_t at = row * c.channels;
      V::template Over<Block<kRows>>(c.channels, c.a + at, c.b + at, sums, c.channels);
    }
    return row;
  }

  template <class V>
  static INLINE void Run(const ColumnSums& c, int64_t part) {
    int64_t first = part / c.parts * c.rows, i = part % c.parts;
    int64_t begin = first + c.rows * i / c.parts, end = first + c.rows * (i + 1) / c.parts;
    float* sums = c.sums + part * 2 * c.channels;
    std::memset(sums, 0, 2 * c.channels * sizeof(float));
    Rows<1, V>(c, Rows<8, V>(c, begin, end, sums), end, sums);
  }
};

ffi::Error SumColumns(ffi::ThreadPool pool, Input a, Input b, Output sums) {
  auto size = a.dimensions().last(2);
  int64_t rows = size[0], channels = size[1], problem = rows * channels;
  int64_t problems = a.element_count() / problem, parts = PartsOf(rows, problem);
  std::vector<float> of_parts(problems * parts * 2 * channels);
  ColumnSums c{a.typed_data(), b.typed_data(), of_parts.data(), rows, channels, parts};
  RunParts(pool, c, problems * parts, a.element_count());
  AddUp(of_parts.data(), problems, parts, 2 * channels, sums->typed_data());
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(xception_jax_column_sums, Handler<SumColumns>::Call,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Input>()
                                  .Arg<Input>()
                                  .Ret<ffi::Buffer<ffi::F32>>());
