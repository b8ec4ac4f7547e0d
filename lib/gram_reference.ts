/**
 * Sums over tokens that calibration needs, in plain TypeScript and in f64: what gram.wgsl must compute.
 *
 *   gram     H += X^T X           X [tokens, cols], H [cols, cols]
 *   largest  m_j = max(m_j, |x_j|)
 *
 * @module
 */

/** H += X^T X. X [tokens, cols], H [cols, cols], both halves. */
export function gram(h: Float64Array, x: Float32Array, cols: number): void {
  const wide = Float64Array.from(x);
  const tokens = x.length / cols;
  for (let token = 0; token < tokens; token += 4) {
    addFour(h, wide, token * cols, Math.min(4, tokens - token), cols);
  }
  for (let i = 1; i < cols; i++) {
    for (let j = 0; j < i; j++) h[i * cols + j] = h[j * cols + i];
  }
}

/** Up to four tokens from `at` on, into the upper half. */
function addFour(h: Float64Array, x: Float64Array, at: number, count: number, n: number): void {
  // a token that is missing is the first once more, times 0
  const [p1, p2, p3] = [1, 2, 3].map((i) => i < count ? at + i * n : at);
  const [f1, f2, f3] = [1, 2, 3].map((i) => +(i < count));
  for (let i = 0; i < n; i++) {
    const a = x[at + i], b = f1 * x[p1 + i], c = f2 * x[p2 + i], d = f3 * x[p3 + i];
    const row = i * n;
    for (let j = i; j < n; j++) {
      h[row + j] += (a * x[at + j] + b * x[p1 + j]) + (c * x[p2 + j] + d * x[p3 + j]);
    }
  }
}

/** The largest size of each column so far: m [cols]. */
export function largest(m: Float64Array, x: Float32Array): void {
  const cols = m.length;
  for (let start = 0; start < x.length; start += cols) {
    for (let j = 0; j < cols; j++) {
      const size = Math.abs(x[start + j]);
      if (size > m[j]) m[j] = size;
    }
  }
}
