// Counts float32 values of many tensors in one launch: what counting.py does on a processor, bin for bin.
//
// Blocks share the values of all tensors evenly. Each keeps the counters of one tensor in shared memory and adds them
// to the tensor's own when it comes to another. Zeros, a third of what networks hold, are counted in a register. A
// value beyond the bins is listed; the host takes what is listed, and has what does not fit the list counted again.
//
// The host defines BINS, LINES, EQUAL_FROM, ABOVE, COARSE, COUNTERS, THREADS, UNROLL, BLOCKS and SHARED.

typedef unsigned int u32;
typedef unsigned long long u64;

struct Tensor {
    const u32* values;  // 16-byte aligned
    u64 size;
    u64* counters;
    double per_value;  // equal bins a unit of magnitude
    float fine;        // bins a unit of magnitude in the top octaves, a power of two
    float approximate; // per_value
    u32 lowest;        // bits of the smallest magnitude with a bin
    u32 least, span;   // bits of the magnitudes that are counted: from the least to so many more
    int start;
    u32 tile;          // its first tile
    u32 unused;
};

struct Seen {
    double sum, squares;  // of values times `fine`
    u64 zeros, below, nans, infs, beyond;
    u32 low, high;        // the smallest and largest value, as ordered() has them, the smallest inverted
    u32 largest;          // bits of the largest finite magnitude beyond the bins
    u32 unused;
};

struct Sums {
    double sum, squares;
    u32 zeros, below;
    // Of the values' bits, from which follow the smallest and the largest value: cheaper than keeping those.
    u32 least, most;
    int highest;
};

struct Out {
    u32* shared;
    Seen* seen;
    u64* list;
    u32* listed;
    u32 capacity, which;
};

#define TILE ((u32)(THREADS * UNROLL * 4))
#define SHIFT 8388608.0f  // added to a float it leaves the integer part in the low bits
#define SHIFT_BITS 0x4B000000
#define NONE 0xffffffffu  // no number has these bits
#define INT_LEAST ((int)0x80000000)

// Numbers in the order of the values. CuPy has subnormal floats flushed to zero, so that only integers tell them apart.
__device__ __forceinline__ u32 ordered(u32 bits) {
    return bits ^ ((u32)((int)bits >> 31) | 0x80000000u);
}

#ifdef __CUDACC__
template <typename T> __device__ __forceinline__ T warp_sum(T value) {
    for (int step = 16; step; step >>= 1) value += __shfl_down_sync(0xffffffffu, value, step);
    return value;
}

__device__ __forceinline__ u32 warp_max(u32 value) {
    for (int step = 16; step; step >>= 1) value = max(value, __shfl_down_sync(0xffffffffu, value, step));
    return value;
}
#endif

// What lies outside the bins, which is rare: everything by value, so that nobody's registers need an address.
__device__ __noinline__ void outside(
    u32 bits, u32 least, Seen* seen, u64* list, u32* listed, u32 capacity, u32 which) {
    u32 magnitude = bits & 0x7fffffffu;
    if (magnitude < least) return;
    if (magnitude >= 0x7f800000u) {
        // With a least magnitude this is the second count.
        if (least == 0) atomicAdd(magnitude > 0x7f800000u ? &seen->nans : &seen->infs, 1ull);
        return;
    }
    atomicAdd(&seen->beyond, 1ull);
    if (*(volatile u32*)&seen->largest < magnitude) atomicMax(&seen->largest, magnitude);
    if (*(volatile u32*)listed < capacity) {
        u32 place = atomicAdd(listed, 1u);
        if (place < capacity) list[place] = (u64)which << 32 | bits;
    }
}

// The place of a value's counter: over both lists of edges, how many are below it.
__device__ __forceinline__ int place_of(const Tensor& tensor, u32 bits, float scaled) {
    u32 magnitude = bits & 0x7fffffffu;
    int even = __float_as_int(__fadd_rz(fabsf(scaled), SHIFT)) - SHIFT_BITS;
    int place = even >= EQUAL_FROM ? even + ABOVE : (int)(magnitude >> COARSE) - tensor.start + 1;
    float value = __uint_as_float(magnitude);
    float line = value * tensor.approximate;  // off by less than 2.5e-4
    float whole = __fadd_rz(line, SHIFT);
    int at = __float_as_int(whole) - SHIFT_BITS;
    // Near an edge the product that the processor computes decides.
    if (fabsf(line - (whole - (SHIFT - 0.5f))) > 0.4995f) at = (int)((double)value * tensor.per_value);
    return place + at + ((int)bits >> 31 & (COUNTERS - 1) / 2);
}

__device__ __forceinline__ void take(
    const Tensor& tensor, const Out& to, u32 bits, Sums& sums, float& sum, float& squares) {
    u32 magnitude = bits & 0x7fffffffu;
    if (magnitude - tensor.least > tensor.span) {
        outside(bits, tensor.least, to.seen, to.list, to.listed, to.capacity, to.which);
        return;
    }
    float value = __uint_as_float(bits);
    float scaled = value * tensor.fine;
    sums.least = min(sums.least, bits);
    sums.most = max(sums.most, bits);
    sums.highest = max(sums.highest, (int)bits);
    sum += scaled;
    squares += scaled * scaled;
    if (magnitude < tensor.lowest) {
        sums.zeros += magnitude == 0;
        sums.below += 1;
        if (magnitude && magnitude < 0x00800000u && scaled == 0.0f) {  // flushed
            double exact = (double)magnitude * 1.401298464324817e-45 * tensor.fine;
            sums.sum += (int)bits < 0 ? -exact : exact;
            sums.squares += exact * exact;
        }
        return;
    }
    int place = place_of(tensor, bits, scaled);
#if SHARED
    atomicAdd(to.shared + place, 1u);
#else
    atomicAdd(tensor.counters + place, 1ull);
#endif
}

__device__ void count_part(const Tensor& tensor, const Out& to, u64 begin, u64 end, Sums& sums) {
    u64 tiles_end = begin + (end - begin) / TILE * TILE;
    for (u64 tile = begin; tile < tiles_end; tile += TILE) {
        const uint4* quads = (const uint4*)(tensor.values + tile);
        uint4 quad[UNROLL];
#pragma unroll
        for (int k = 0; k < UNROLL; k++) quad[k] = quads[k * THREADS + threadIdx.x];
        float sum = 0.0f, squares = 0.0f;
#pragma unroll
        for (int k = 0; k < UNROLL; k++) {
            take(tensor, to, quad[k].x, sums, sum, squares);
            take(tensor, to, quad[k].y, sums, sum, squares);
            take(tensor, to, quad[k].z, sums, sum, squares);
            take(tensor, to, quad[k].w, sums, sum, squares);
        }
        sums.sum += sum;
        sums.squares += squares;
    }
    float sum = 0.0f, squares = 0.0f;
    for (u64 i = tiles_end + threadIdx.x; i < end; i += THREADS) {
        take(tensor, to, tensor.values[i], sums, sum, squares);
    }
    sums.sum += sum;
    sums.squares += squares;
}

__device__ void add(const Sums& sums, Seen* seen) {
    // The sign is the highest bit: bits of negative numbers are the larger ones, and grow with the magnitude.
    bool any = sums.least != NONE;
    u32 smallest = (int)sums.most < 0 ? sums.most : sums.least;
    u32 largest = sums.highest >= 0 ? (u32)sums.highest : sums.least;
    double sum = warp_sum(sums.sum), squares = warp_sum(sums.squares);
    u32 zeros = warp_sum(sums.zeros), below = warp_sum(sums.below);
    u32 low = warp_max(any ? ~ordered(smallest) : 0), high = warp_max(any ? ordered(largest) : 0);
    if (threadIdx.x % 32) return;
    atomicAdd(&seen->sum, sum);
    atomicAdd(&seen->squares, squares);
    atomicAdd(&seen->zeros, (u64)zeros);
    atomicAdd(&seen->below, (u64)below);
    atomicMax(&seen->low, low);
    atomicMax(&seen->high, high);
}

// The tensors are followed by one whose first tile is the number of all tiles.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
count(const Tensor* tensors, u32 tiles, Seen* seen, u64* list, u32* listed, u32 capacity) {
#if SHARED
    extern __shared__ u32 shared[];
    for (u32 i = threadIdx.x; i < COUNTERS; i += THREADS) shared[i] = 0;
    __syncthreads();
#else
    u32* shared = 0;
#endif
    u32 tile = (u32)((u64)tiles * blockIdx.x / gridDim.x), end = (u32)((u64)tiles * (blockIdx.x + 1) / gridDim.x);
    u32 which = 0;
    for (; tile < end; which++) {
        u32 stop = tensors[which + 1].tile;
        if (stop <= tile) continue;
        const Tensor tensor = tensors[which];
        stop = min(stop, end);
        Out to = {shared, seen + which, list, listed, capacity, which};
        Sums sums = {0.0, 0.0, 0, 0, NONE, 0, INT_LEAST};
        u64 first = (u64)(tile - tensor.tile) * TILE, last = (u64)(stop - tensor.tile) * TILE;
        count_part(tensor, to, first, min(last, tensor.size), sums);
        add(sums, seen + which);
#if SHARED
        __syncthreads();
        for (u32 i = threadIdx.x; i < COUNTERS; i += THREADS) {
            if (shared[i]) atomicAdd(tensor.counters + i, (u64)shared[i]);
            shared[i] = 0;
        }
        __syncthreads();
#endif
        tile = stop;
    }
}
