// lines: how a workgroup shares out the rows of W, and how sums over a row come together.
//
// A workgroup is LINES lines of SPAN lanes. The lanes of a line stride together over the columns of TALL
// rows, so that what a lane loads of x serves TALL rows, and what a line loads of W lies side by side.
// Of each FOLD lanes the first leaves their sums in workgroup memory. Where a line leaves more than eight, all
// lanes add up eights of them; then a lane an output adds up those of its line. That bounds rounding and
// fixes the order of additions.
//
// Of SPLIT workgroups each takes every SPLIT-th step over the columns of the same rows and leaves a sum
// of its own, y [SPLIT, BATCH, OUT_ROWS], for kernels/join.wgsl.
//
// needs:    parts/fold; ROWS, and bias and y, bound by the kernel; powers of two: WORKGROUP, SPAN, TALL, BATCH;
//           FOLD <= SPAN <= WORKGROUP, TALL >= 2, TALL * BATCH <= 16; leave() and then settle() by all lanes
// gives:    y [BATCH, OUT_ROWS]: rows FIRST_ROW .. FIRST_ROW + ROWS are written, or added to where ADD;
//           where GATED the first half of W's rows are gates and the second half ups:
//           rows 0 .. ROWS / 2 of y = silu(gate) * up, without FIRST_ROW and bias

override WORKGROUP: u32 = 64;
override SPAN: u32 = 16;
override TALL: u32 = 4;
override SPLIT: u32 = 1;
override BATCH: u32 = 1;
override BIAS: bool = false;
override ADD: bool = false;
override GATED: bool = false;
override FIRST_ROW: u32 = 0;
override OUT_ROWS: u32;

override LINES: u32 = WORKGROUP / SPAN;
override OUTPUTS: u32 = select(TALL, TALL / 2u, GATED); // rows of y that a line makes

const EIGHT: u32 = 8u; // sums that a lane adds up at once

// Sums [BATCH, TALL, LINES, LEFT + 1]; the odd one keeps lines off each other's banks.
override LEFT: u32 = SPAN / FOLD; // of a line
override SUMS: u32 = BATCH * TALL * LINES * (LEFT + 1u);
var<workgroup> partial: array<f32, SUMS>;

// Row r of the TALL of a line: in turn, or gates and then their ups. Those beyond the last repeat it.
fn row_of(line: u32, r: u32) -> u32 {
  if (GATED) {
    return min(line * OUTPUTS + r % OUTPUTS, ROWS / 2u - 1u) + r / OUTPUTS * (ROWS / 2u);
  }
  return min(line * TALL + r, ROWS - 1u);
}

// Leaves the sum of row r and a token.
fn leave(lane: u32, r: u32, token: u32, sum: f32) {
  let folded = fold(sum);
  if (lane % FOLD > 0u) { return; }
  partial[((token * TALL + r) * LINES + lane / SPAN) * (LEFT + 1u) + lane % SPAN / FOLD] = folded;
}

// Waits until all lanes have left their sums, and adds up eights of them in place.
fn settle(lane: u32) {
  workgroupBarrier();
  if (LEFT <= EIGHT) { return; }
  for (var i = lane; i < BATCH * TALL * LINES * LEFT / EIGHT; i += WORKGROUP) {
    let at = i * EIGHT + i * EIGHT / LEFT;
    var sum = 0.0;
    for (var j = 0u; j < EIGHT; j++) { sum += partial[at + j]; }
    partial[at] = sum;
  }
  workgroupBarrier();
}

// sum over the lanes of a line of what they left
fn line_sum(line: u32, r: u32, token: u32) -> f32 {
  let at = ((token * TALL + r) * LINES + line) * (LEFT + 1u);
  let apart = select(1u, EIGHT, LEFT > EIGHT);
  var sum = 0.0;
  for (var i = 0u; i < LEFT; i += apart) { sum += partial[at + i]; }
  return sum;
}

// The bias of a row of y, which is not read where there is none.
fn bias_of(row: u32) -> f32 {
  if (BIAS) { return bias[row]; }
  return 0.0;
}

// Writes what a workgroup summed: `part` of SPLIT of the rows of `block`, times a factor in two parts.
fn write(block: u32, part: u32, lane: u32, factor: vec2f) {
  for (var i = lane; i < LINES * OUTPUTS * BATCH; i += WORKGROUP) {
    let token = i / (LINES * OUTPUTS);
    let line = i / OUTPUTS % LINES;
    let row = (block * LINES + line) * OUTPUTS + i % OUTPUTS;
    if (row >= select(ROWS, ROWS / 2u, GATED)) { continue; }
    let sum = line_sum(line, i % OUTPUTS, token) * factor.x * factor.y;
    let at = token * OUT_ROWS + FIRST_ROW + row;
    if (GATED) {
      let up = line_sum(line, i % OUTPUTS + OUTPUTS, token) * factor.x * factor.y;
      let shrink = 1.0 + exp(min(-sum, 88.0)); // WGSL has no infinity to rely on
      y[token * OUT_ROWS + row] = sum / shrink * up;
    } else if (SPLIT > 1u) {
      y[part * BATCH * OUT_ROWS + at] = sum;
    } else {
      y[at] = select(0.0, y[at], ADD) + sum + bias_of(FIRST_ROW + row);
    }
  }
}
