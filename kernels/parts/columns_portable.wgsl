// columns: the walk of a matvec with packed weights over its columns.
//
// A lane takes one unit of x, 32 columns in PIECES pieces, into registers and multiplies it with that
// unit of TALL rows. STAGED, the workgroup first copies the units of a step to workgroup memory, since
// lanes that each read 128 bytes at a stride of 128 waste most of what a cache of a GPU hands out; a CPU
// does not care. Sums go up in steps (what a kernel sums of a unit, 8 units, all units of a lane, 8 lanes,
// all) so that rounding does not grow with COLS.
//
// needs:    parts/weights, a part with load_table(), parts/lines, a part `rows`, and of the kernel
//             Piece, PIECES                     an alias of vec4f or vec4u, and how many a unit has
//             STRIDE                            of units in the stage, odd lest lanes meet in a bank
//                                               if it is not PIECES, PIECES divides WORKGROUP
//             piece_at(i)                       x [BATCH, UNITS, PIECES], zeros beyond COLS
//             group_sum(units, word, words, scale, token)   sum w x over words of eight columns
//             factor_of(token)                  what a token's sums are multiplied by
// gives:    tokens [BATCH, PIECES], the lane's unit of x; multiply(), by all lanes: y, as parts/lines says

override STAGED: bool = true;

// The lane's words of one unit, a row each, where STAGED.
var<private> words: array<vec4u, 16>;
// The lane's activations of one unit, [BATCH, PIECES], and those of a step, [BATCH, SPAN, STRIDE].
var<private> tokens: array<Piece, 2u * PIECES>;
override STAGE: u32 = select(1u, BATCH * SPAN * STRIDE, STAGED);
var<workgroup> stage: array<Piece, STAGE>;

// Activations of units first .. first + SPAN to workgroup memory, zeros beyond the last.
fn fill_stage(first: u32, lane: u32, seat: u32) {
  let whole = UNITS % SPAN == 0u || first + SPAN <= UNITS;
  for (var token = 0u; token < BATCH; token++) {
    let source = PIECES * (token * UNITS + first) + lane;
    for (var i = 0u; i < PIECES * SPAN; i += WORKGROUP) {
      if (PIECES * SPAN % WORKGROUP != 0u && i + lane >= PIECES * SPAN) { continue; }
      let to = STRIDE * SPAN * token + i + i / PIECES * (STRIDE - PIECES) + seat;
      if (whole) { stage[to] = piece_at(source + i); }
      else if (first + (i + lane) / PIECES < UNITS) { stage[to] = piece_at(source + i); }
      else { stage[to] = Piece(); }
    }
  }
}

// Takes the lane's words of a unit before the barrier, so that those of all rows are on their way at once.
fn take_words(unit: u32) {
  for (var r = 0u; r < TALL; r++) { words[r] = unit_at(start_of(r).x + unit); }
}

// Takes the lane's activations of a unit, zeros beyond the last; STAGED, from place `home` of the stage.
fn take_tokens(unit: u32, home: u32) {
  for (var token = 0u; token < BATCH; token++) {
    for (var i = 0u; i < PIECES; i++) {
      if (STAGED) { tokens[PIECES * token + i] = stage[STRIDE * SPAN * token + home + i]; }
      else {
        let piece = piece_at(PIECES * (token * UNITS + min(unit, UNITS - 1u)) + i);
        tokens[PIECES * token + i] = select(Piece(), piece, unit < UNITS);
      }
    }
  }
}

// sum w x over a unit; groups of 16 columns have two in it. `groups` is where the row's begin.
fn unit_sum(words: vec4u, groups: u32, unit: u32, token: u32) -> f32 {
  let group = unit * 32u / GROUP;
  if (GROUP >= 32u) { return group_sum(words, 0u, 4u, scales_at(groups, group), token); }
  let last = min(group + 1u, GROUPS - 1u); // a short last unit has one group
  return group_sum(words, 0u, 2u, scales_at(groups, group), token) +
    group_sum(words, 2u, 2u, scales_at(groups, last), token);
}

// Walks the columns, a unit a lane and step; eight are summed before they join the total, which is left.
fn walk(block: u32, part: u32, lane: u32) {
  let across = lane % SPAN;
  let seat = lane + lane / PIECES * (STRIDE - PIECES);
  let line = block * LINES + lane / SPAN;
  take_rows(line);
  for (var first = part * SPAN; first < UNITS; ) {
    for (var i = 0u; i < 8u && first < UNITS; i++) {
      let unit = min(first + across, UNITS - 1u);
      if (STAGED) {
        fill_stage(first, lane, seat);
        take_words(unit);
        workgroupBarrier();
      }
      take_tokens(first + across, STRIDE * across);
      for (var r = 0u; r < TALL; r++) {
        let start = start_of(r);
        var own = words[r];
        if (!STAGED) { own = unit_at(start.x + unit); }
        for (var token = 0u; token < BATCH; token++) {
          add_sum(token * TALL + r, unit_sum(own, start.y, unit, token), token);
        }
      }
      if (STAGED) { workgroupBarrier(); }
      first += SPAN * SPLIT;
    }
    raise_sums();
  }

  for (var r = 0u; r < TALL; r++) {
    var factor = 1.0;
    if (SCALE_BITS < 16u) { factor = row_factor(row_of(line, r)); }
    for (var token = 0u; token < BATCH; token++) {
      leave(lane, r, token, total_of(token * TALL + r) * factor_of(token) * factor);
    }
  }
}

// All that a workgroup does; `once` is what the kernel's sums are still to be multiplied by.
fn multiply(id: vec3u, ids: vec3u, lane: u32, once: f32) {
  load_table(lane, WORKGROUP);
  let block = (id.y * ids.x + id.x) / SPLIT;
  let part = (id.y * ids.x + id.x) % SPLIT;
  walk(block, part, lane);
  settle(lane);
  write(block, part, lane, vec2f(codebook.factor.x * once, codebook.factor.y));
}
