//! The Internet checksum's sum with AVX2, chosen at run time. Panics never, allocates never, reads only the slice.
//!
//! Each 16-bit word is made signed by flipping its top bit (which takes 32768 off), so that one multiply-add sums pairs
//! of words into 32-bit lanes; the 32768 a word are put back at the end. The result is the exact integer sum.
#![expect(unsafe_code, reason = "vector loads, and the call of a function that needs a CPU feature")]
use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_set1_epi16, _mm256_setzero_si256,
    _mm256_storeu_si256, _mm256_xor_si256,
};

const VECTOR_LEN: usize = 32;
const UNROLLED_LEN: usize = 4 * VECTOR_LEN;

/// The longest slice whose 32-bit lanes cannot overflow: each step adds at most 65536 in size to a lane.
pub(super) const MAXIMUM_LEN: usize = 1 << 16;

/// The sum of the native-endian 16-bit words of as many whole vectors as `bytes` holds, and what is left of `bytes`.
/// `None` without AVX2 or for more than [`MAXIMUM_LEN`] bytes.
#[inline]
pub(super) fn sum_vectors(bytes: &[u8]) -> Option<(u64, &[u8])> {
    if bytes.len() > MAXIMUM_LEN || !is_x86_feature_detected!("avx2") {
        return None;
    }
    // SAFETY: the only requirement is AVX2, which was just detected.
    Some(unsafe { sum_avx2(bytes) })
}

#[target_feature(enable = "avx2")]
fn sum_avx2(bytes: &[u8]) -> (u64, &[u8]) {
    let (blocks, rest) = bytes.as_chunks::<UNROLLED_LEN>();
    let (vectors, tail) = rest.as_chunks::<VECTOR_LEN>();
    let zero = _mm256_setzero_si256();
    let (mut a, mut b, mut c, mut d) = (zero, zero, zero, zero);
    for block in blocks {
        let ([first, second, third, fourth], _) = block.as_chunks::<VECTOR_LEN>() else { break };
        a = _mm256_add_epi32(a, pair_sums(first));
        b = _mm256_add_epi32(b, pair_sums(second));
        c = _mm256_add_epi32(c, pair_sums(third));
        d = _mm256_add_epi32(d, pair_sums(fourth));
    }
    for vector in vectors {
        a = _mm256_add_epi32(a, pair_sums(vector));
    }
    let lanes = lanes(_mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d)));
    let word_count = (bytes.len() - tail.len()) as i64 / 2;
    let sum = lanes.iter().map(|&lane| i64::from(lane)).sum::<i64>() + (word_count << 15);
    (sum as u64, tail)
}

/// Sums of neighbouring words, each less 32768.
#[inline]
#[target_feature(enable = "avx2")]
fn pair_sums(bytes: &[u8; VECTOR_LEN]) -> __m256i {
    // SAFETY: the array is as long as a vector, and this load has no alignment requirement.
    let words = unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) };
    _mm256_madd_epi16(_mm256_xor_si256(words, _mm256_set1_epi16(i16::MIN)), _mm256_set1_epi16(1))
}

#[inline]
#[target_feature(enable = "avx2")]
fn lanes(vector: __m256i) -> [i32; 8] {
    let mut lanes = [0_i32; 8];
    // SAFETY: the array is as long as a vector, and this store has no alignment requirement.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), vector) };
    lanes
}
