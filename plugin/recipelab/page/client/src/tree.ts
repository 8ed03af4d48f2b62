// Where each trial of a lineage lies in the picture of it.
//
// The chain that leads to the head runs straight along the top; other branches leave it downwards.
// Trials that nothing was made from, most of them, are packed in a block below their parent, so
// that ten thousand of them fit on a screen.

import type { TrialRow } from "./types";

export interface Node {
  row: TrialRow;
  parent: Node | null;
  /** Children that have children or were kept, the one on the way to the head first. */
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

const LABELED = 60;

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
  for (const [parent, its] of children) {
    for (const child of its) {
      const branch = children.has(child) || child.row.status === "kept";
      child.packed = !branch;
      (branch ? parent.branches : parent.leaves).push(child);
    }
    parent.branches.sort((a, b) => Number(onWay.has(b)) - Number(onWay.has(a)) || a.row.number - b.row.number);
  }
  const wide = rows.length <= LABELED;
  const cell = wide ? { width: 132, height: 22 } : { width: 14, height: 14 };
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

function lay(roots: Node[], cell: Tree["cell"], columnsOf: (leaves: number) => number): { width: number; height: number } {
  let width = 0;
  let top = 0;
  // Iterative, as a chain may be longer than a stack is deep. Heights come first, from the ends.
  const order: Node[] = [];
  const stack = [...roots];
  for (let node = stack.pop(); node; node = stack.pop()) {
    order.push(node);
    stack.push(...node.branches);
  }
  const heights = new Map<Node, number>();
  for (const node of order.toReversed()) {
    const columns = columnsOf(node.leaves.length);
    const own = 1 + Math.ceil(node.leaves.length / columns);
    const below = node.branches.reduce((sum, branch) => sum + (heights.get(branch) ?? 1), 0);
    heights.set(node, Math.max(own, below) + (node.leaves.length > 0 || node.branches.length > 1 ? 0.6 : 0));
  }
  for (const root of roots) {
    root.x = 0;
    root.y = top;
    top += (heights.get(root) ?? 1) * cell.height;
  }
  for (const node of order) {
    const columns = columnsOf(node.leaves.length);
    const indent = cell.width > 40 ? 18 : cell.width * 0.6;
    node.leaves.forEach((leaf, i) => {
      leaf.x = node.x + indent + (i % columns) * cell.width;
      leaf.y = node.y + (1 + Math.floor(i / columns)) * cell.height;
    });
    const used = node.leaves.length === 0 ? cell.width : indent + Math.min(columns, node.leaves.length) * cell.width;
    const right = node.x + Math.max(used, cell.width) + cell.width * (cell.width > 40 ? 0.25 : 1);
    width = Math.max(width, right);
    let y = node.y;
    for (const branch of node.branches) {
      branch.x = right;
      branch.y = y;
      y += (heights.get(branch) ?? 1) * cell.height;
    }
  }
  return { width, height: Math.max(top, cell.height) };
}
