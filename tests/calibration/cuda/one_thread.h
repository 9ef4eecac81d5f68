// As much of CUDA as the kernel uses, for blocks of one thread that run one after another.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#ifdef __SSE__
#include <xmmintrin.h>
#endif
#define __device__
#define __global__
#define __forceinline__ inline
#define __noinline__
#define __shared__
#define __launch_bounds__(...)
using std::max;
using std::min;
struct Index { unsigned x; };
struct uint4 { unsigned x, y, z, w; };
static Index threadIdx = {0}, blockIdx = {0}, gridDim = {1};
static unsigned shared[1 << 16];
static void __syncthreads() {}
template <typename A, typename B> static A as(B value) { A result; memcpy(&result, &value, sizeof result); return result; }
static unsigned __float_as_uint(float value) { return as<unsigned>(value); }
static int __float_as_int(float value) { return as<int>(value); }
static float __uint_as_float(unsigned value) { return as<float>(value); }
static float __int_as_float(int value) { return as<float>(value); }
static float __fadd_rz(float value, float shift) { return std::trunc(value) + shift; }  // as long as the sum is exact
template <typename T> static T warp_sum(T value) { return value; }
static unsigned warp_max(unsigned value) { return value; }
template <typename T, typename U> static T atomicAdd(T* at, U value) { T before = *at; *at += value; return before; }
template <typename T, typename U> static void atomicMax(T* at, U value) { *at = std::max(*at, (T)value); }
