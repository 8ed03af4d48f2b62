// Where each trial of a lineage lies in the picture of it.
//
// The chain that leads to the head runs straight along the top; other branches leave it downwards.
// Trials that nothing was made from, most of them, are packed in a block below their parent, so
// that ten thousand of them fit on a screen.

import type { TrialRow } from "./types";

export interface Node {
  row: TrialRow;
  parent: Node | null;
  /** Children that have children or were kept, the one on the way to the head first, then by offspring. */
  branches: Node[];
  /** Children that nothing was made from, by number. */
  leaves: Node[];
  x: number;
  y: number;
  /** Whether it lies in the block of its parent. */
  packed: boolean;
}

export interface Tree {
  nodes: Node[];
  byNumber: Map<number, Node>;
  width: number;
  height: number;
  /** Room of a cell, in units of the picture. */
  cell: { width: number; height: number };
}

const LABELED = 120;

export function treeOf(rows: TrialRow[], head: number | null, aspect: number): Tree {
  const byNumber = new Map<number, Node>();
  const nodes: Node[] = rows.map((row) => ({ row, parent: null, branches: [], leaves: [], x: 0, y: 0, packed: false }));
  for (const node of nodes) byNumber.set(node.row.number, node);
  const children = new Map<Node, Node[]>();
  const roots: Node[] = [];
  for (const node of nodes) {
    const parent = byNumber.get(node.row.parents[0] ?? -1);
    // A parent comes before its child, so that no circle of wrong data can keep this going.
    if (parent && parent.row.number < node.row.number) {
      node.parent = parent;
      const its = children.get(parent);
      if (its) its.push(node);
      else children.set(parent, [node]);
    } else roots.push(node);
  }
  const onWay = new Set<Node>();
  for (let node = byNumber.get(head ?? -1) ?? null; node; node = node.parent) onWay.add(node);
  const offspring = new Map<Node, number>();
  for (const node of nodes.toReversed()) {
    if (node.parent) offspring.set(node.parent, (offspring.get(node.parent) ?? 0) + 1 + (offspring.get(node) ?? 0));
  }
  for (const [parent, its] of children) {
    for (const child of its) {
      const branch = children.has(child) || child.row.status === "kept";
      child.packed = !branch;
      (branch ? parent.branches : parent.leaves).push(child);
    }
    parent.branches.sort((a, b) => Number(onWay.has(b)) - Number(onWay.has(a)) || (offspring.get(b) ?? 0) - (offspring.get(a) ?? 0) || a.row.number - b.row.number);
  }
  const wide = rows.length <= LABELED;
  const cell = wide ? { width: 118, height: 24 } : { width: 14, height: 14 };
  const size = place(roots, nodes, cell, aspect, wide);
  return { nodes, byNumber, ...size, cell };
}

/** Set all places, with blocks as wide as fits the picture's shape best. */
function place(roots: Node[], nodes: Node[], cell: Tree["cell"], aspect: number, wide: boolean): { width: number; height: number } {
  if (wide) return lay(roots, cell, () => 1);
  let best: { off: number; width: number; height: number; factor: number } | null = null;
  for (let factor = 0.05; factor <= 8; factor *= 1.5) {
    const size = lay(roots, cell, columnsBy(factor));
    const off = Math.abs(Math.log(size.width / size.height / aspect));
    if (best === null || off < best.off) best = { off, ...size, factor };
    if (nodes.length > 20000) break;
  }
  return lay(roots, cell, columnsBy(best?.factor ?? 1));
}

function columnsBy(factor: number): (count: number) => number {
  return (count) => Math.max(1, Math.round(Math.sqrt(count * factor)));
}

/** Where the picture is still free, from top to bottom, in columns of one cell. */
class Skyline {
  private bottoms = new Float64Array(256);

  constructor(readonly cell: number) {}

  /** The least y at which something from `x` on and `width` wide is free. */
  over(x: number, width: number): number {
    let y = 0;
    for (let i = this.at(x); i <= this.at(x + width - 1); i++) y = Math.max(y, this.bottoms[i] ?? 0);
    return y;
  }

  take(x: number, width: number, bottom: number): void {
    const last = this.at(x + width - 1);
    if (last >= this.bottoms.length) {
      const wider = new Float64Array(2 * last);
      wider.set(this.bottoms);
      this.bottoms = wider;
    }
    for (let i = this.at(x); i <= last; i++) this.bottoms[i] = bottom;
  }

  private at(x: number): number {
    return Math.max(0, Math.floor(x / this.cell));
  }
}

/** Place a trial before what was made of it, each as high as there is room. */
function lay(roots: Node[], cell: Tree["cell"], columnsOf: (leaves: number) => number): { width: number; height: number } {
  const labeled = cell.width > 40;
  const indent = labeled ? 18 : cell.width * 0.6;
  const gap = cell.width * (labeled ? 0.25 : 1);
  const free = new Skyline(labeled ? cell.width / 4 : cell.width);
  let [width, height] = [0, 0];
  // A stack of its own, as a chain may be longer than the machine's is deep.
  const stack = roots.toReversed();
  for (let node = stack.pop(); node; node = stack.pop()) {
    const columns = columnsOf(node.leaves.length);
    const rows = Math.ceil(node.leaves.length / columns);
    const own = Math.max(cell.width, node.leaves.length === 0 ? 0 : indent + Math.min(columns, node.leaves.length) * cell.width);
    // Whole columns, so that what comes next does not touch this one's last.
    const used = Math.ceil((own + gap) / free.cell) * free.cell;
    const { parent } = node;
    node.x = parent === null ? 0 : node.x;
    node.y = Math.max(parent === null ? 0 : parent.y, free.over(node.x, used));
    const [x, y] = [node.x, node.y];
    node.leaves.forEach((leaf, i) => {
      leaf.x = x + indent + (i % columns) * cell.width;
      leaf.y = y + (1 + Math.floor(i / columns)) * cell.height;
    });
    const bottom = y + (1.6 + rows) * cell.height;
    free.take(x, used, bottom);
    width = Math.max(width, x + used);
    height = Math.max(height, bottom);
    for (const branch of node.branches) branch.x = x + used;
    stack.push(...node.branches.toReversed());
  }
  return { width, height };
}
