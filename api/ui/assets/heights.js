// Heights of very many rows of which most were never drawn: where a row begins, and which row is at a
// place, in a handful of steps (a binary indexed tree), while guessed heights are mended one by one.

export class Heights {
  constructor(room = 1024) {
    this.length = 0;
    this.each = new Float64Array(room);
    this.tree = new Float64Array(room + 1);
  }

  /** Append a row. */
  push(height) {
    if (this.length === this.each.length) {
      const grown = new Heights(this.length * 2);
      for (let at = 0; at < this.length; at++) grown.push(this.each[at]);
      this.each = grown.each;
      this.tree = grown.tree;
    }
    this.length += 1;
    this.set(this.length - 1, height);
  }

  /** Give a row another height. */
  set(row, height) {
    const by = height - this.each[row];
    this.each[row] = height;
    for (let at = row + 1; at < this.tree.length; at += at & -at) this.tree[at] += by;
  }

  /** Where a row begins; of `length`, where all end. */
  top(row) {
    let sum = 0;
    for (let at = row; at > 0; at -= at & -at) sum += this.tree[at];
    return sum;
  }

  /** The row at a place; the last one for a place beyond. */
  at(place) {
    let row = 0, left = place;
    for (let step = 2 ** Math.floor(Math.log2(this.tree.length)); step >= 1; step /= 2) {
      if (row + step < this.tree.length && this.tree[row + step] <= left) { row += step; left -= this.tree[row]; }
    }
    return Math.max(0, Math.min(row, this.length - 1));
  }
}
