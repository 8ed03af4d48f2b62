// The data of the page, as the server and the report give them. Times are seconds since 1970.

export type Status =
  | "baseline" | "kept" | "discarded" | "rejected" | "crashed" | "oversize" | "train_overrun"
  | "eval_overrun" | "gate_missed" | "illegal" | "aborted";

export interface CampaignLine {
  name: string;
  pack: string;
  profile: string;
  model: string;
  sandbox: string;
  state: string;
  stop_reason: string | null;
  created_at: number;
  ended_at: number | null;
  trials: number;
  running: number;
  best_gain: number | null;
}

export interface Metric {
  name: string;
  unit: string;
  goal: "minimize" | "maximize";
  title: string;
}

export interface BudgetLine {
  kind: string;
  used: number | null;
  limit: number | null;
  unit: string;
}

export interface GateLimit {
  name: string;
  limit: number;
  at_most: boolean;
  unit: string;
  baseline: number | null;
}

export interface GateResult {
  name: string;
  value: number;
  limit: number;
  margin: number;
  error: number | null;
}

export interface CheckpointLine {
  position: number;
  made_at: number;
  trial: number;
  against: number;
  held: boolean;
  fell_back: boolean;
  reason: string;
  seeds: number;
  delta: number | null;
  delta_se: number | null;
  delta_low: number | null;
  delta_high: number | null;
  p: number | null;
  level: number | null;
  gates: GateResult[];
  verdict?: string;
}

export interface CertificateLine {
  trial: number;
  made_at: number;
  status: string;
  reason: string;
  held_out: boolean;
  seeds: number;
  score: number | null;
  score_se: number | null;
  baseline_score: number | null;
  delta: number | null;
  delta_low: number | null;
  delta_high: number | null;
  p: number | null;
  test: string;
  gates: GateResult[];
  tries: number;
}

export interface FailureLine {
  kind: string;
  phase: string | null;
  signature: string;
  count: number;
  first: number;
  last: number;
  last_seen: number | null;
  excerpt: string;
  fixed_by: number[];
}

export interface SurfaceLine {
  name: string;
  tried: number;
  kept: number;
  best_delta: number | null;
  last_kept: number | null;
  since_kept: number | null;
  saturated?: boolean;
  statuses: Record<string, number>;
  cpu_seconds: number;
}

export interface SpecialistLine {
  name: string;
  tried: number;
  kept: number;
  best_delta: number | null;
  calls: number | null;
  prompt_tokens: number | null;
  completion_tokens: number | null;
  cost: number | null;
  seconds: number | null;
  cpu_seconds: number;
  passes: number | null;
}

export interface NoteLine {
  number: number;
  text: string;
  specialist: string | null;
  trial: number | null;
  created_at: number;
  retired_at: number | null;
}

export interface RoundLine {
  number: number;
  started_at: number;
  ended_at: number | null;
}

export interface Test {
  kind: string;
  trial: number;
  against: number | null;
  held: boolean;
  verdict?: string | null;
  p: number | null;
  level: number | null;
  seeds: number | null;
  made_at: number | null;
}

export interface Promised {
  policy?: string | null;
  false_claim_budget?: number | null;
  spent?: number | null;
  left?: number | null;
  claims?: number | null;
  looks?: number[] | null;
  tests?: Test[];
}

export interface Arm {
  name: string;
  arm: string;
  model: string;
  seed: number;
}

export interface Campaign {
  name: string;
  pack: string;
  profile: string;
  model: string;
  sandbox: string;
  seed: number;
  state: string;
  stop_reason: string | null;
  created_at: number;
  ended_at: number | null;
  metric: Metric;
  surfaces: string[];
  specialists: string[];
  budget: BudgetLine[];
  noise: { sd: number | null; smallest_visible: number | null; seeds: number | null } | null;
  gates: GateLimit[];
  /** Numbers of trials. */
  baseline: number | null;
  best: number | null;
  certified: number | null;
  /** In percent of the baseline; positive is better. */
  best_gain?: number | null;
  certified_gain?: number | null;
  checkpoints: CheckpointLine[];
  certificates: CertificateLine[];
  evidence: Promised | null;
  failures: FailureLine[];
  by_surface: SurfaceLine[];
  by_specialist: SpecialistLine[];
  notes: NoteLine[];
  rounds: RoundLine[];
  messages: number;
  arms: Arm[] | null;
  driver_alive?: boolean | null;
  trust?: string | null;
  missing?: string[];
}

export interface TrialRow {
  number: number;
  status: Status | null;
  state: string;
  standing: string | null;
  phase: string | null;
  specialist: string;
  surface: string;
  parents: number[];
  score: number | null;
  score_se: number | null;
  delta: number | null;
  delta_se: number | null;
  proposed_at: number;
  judged_at: number | null;
  judged_order: number | null;
  cpu_seconds: number;
  wall_seconds: number | null;
  failure_kind: string | null;
  signature: string | null;
  near_miss: boolean;
  unproven_gain: boolean;
  hypothesis: string;
  reason: string;
}

export interface TrialTable {
  token: string;
  /** Whether these are all rows, and not only those that changed. */
  whole?: boolean;
  columns: { [K in keyof TrialRow]: TrialRow[K][] };
}

export interface Timing {
  phase: string;
  wall_seconds: number;
  cpu_seconds: number;
  peak_memory_mb: number | null;
}

export interface SeedRun {
  seed: number;
  timings: Timing[];
  measures: Record<string, number>;
}

export interface Evidence {
  against?: number;
  planned?: number;
  screened?: number;
  confirmed?: number;
  saved_seconds?: number;
  p?: number | null;
  level?: number | null;
  same_as?: number | null;
  standing?: string | null;
  rebased_from?: number | null;
  parent_delta?: number | null;
  parent_delta_se?: number | null;
  deterministic?: boolean;
  stopped_early?: number;
}

export interface Failure {
  phase: string | null;
  kind: string;
  signature: string;
  excerpt: string;
  seed: number | null;
}

export interface Knob {
  path: string;
  name: string;
  before: unknown;
  after: unknown;
}

export interface Trial {
  number: number;
  round: number | null;
  specialist: string;
  surface: string;
  parents: number[];
  hypothesis: string;
  expected_delta: number | null;
  status: Status | null;
  state: string;
  phase: string | null;
  standing: string | null;
  reason: string;
  score: number | null;
  score_se: number | null;
  delta: number | null;
  delta_se: number | null;
  evidence: Evidence | null;
  gates: GateResult[];
  seed_runs: SeedRun[];
  beside: SeedRun[];
  beside_trial: number | null;
  failure: Failure | null;
  log_tail: string | null;
  environment: string;
  diff: string;
  diff_from_start: string | null;
  curve: [number, number][] | null;
  curves?: { seed: number; points: [number, number][] }[] | null;
  proposed_at: number;
  judged_at: number | null;
  knobs: Knob[] | null;
  view: string | null;
  chat: number[];
  children: number[] | null;
  siblings?: number[] | null;
  fixed_by?: number[];
  fixes?: (number | string)[];
  words?: string[];
}

export interface Message {
  position: number;
  round: number | null;
  trial: number | null;
  source: string;
  type: string;
  created_at: number;
  text: string;
  trials?: number[];
  payload: Payload | null;
}

export interface Call {
  id?: string;
  name: string;
  arguments?: string | null;
  content?: string | null;
  is_error?: boolean;
}

export interface Payload {
  calls?: Call[];
  usage?: { prompt_tokens: number; completion_tokens: number } | null;
}

export interface ChatPage {
  from: number;
  total: number;
  messages: Message[];
}

export interface ViewText {
  hash: string;
  text: string;
  first_used_at: number;
}

export interface RunningTrial {
  trial: number;
  phase: string | null;
  seed: number | null;
  slot: string | null;
  began: number | null;
  budget: number | null;
  beside: boolean | number | null;
  look: [number, number] | null;
  log: string[];
}

export interface Now {
  state: string;
  since: number | null;
  paused: boolean;
  driver_alive: boolean | null;
  floor: { specialist: string; since: number | null; doing: string; call_since: number | null }[];
  passes: { specialist: string; at: number; reason: string }[];
  queued: number[];
  running: RunningTrial[];
  confirming: { trial: number; look: number | null; of: number | null; kind?: string } | null;
  seconds_left?: number | null;
  next_stop: string | null;
  warnings: string[];
  slots: { busy: number; total: number | null } | null;
}

export interface Changed {
  trials: string;
  messages: number;
  state: string;
  now: Now;
}
