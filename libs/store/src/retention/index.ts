/** How long data is kept, and how it goes. */
export { deleteOldBatches, deleteOldDeadLetters } from "./delete-early.ts";
export { type DropOptions, type Dropped, dropDays } from "./drop-days.ts";
export { dropMonths } from "./drop-months.ts";
export { askErasure, type EraseOptions, type Erasure, eraseTenants } from "./erase.ts";
export { keepRetention, type RetentionOptions, type RetentionRound } from "./keep-retention.ts";
export { type LedgerFloor, listLedgerConnections, readLedgerFloor } from "./ledger-floor.ts";
export { DEFAULT_MAX, MIN_DAYS, type RetentionDays, readRetention, toEffective } from "./policy.ts";
export { type RetentionProblem, retentionProblems } from "./problems.ts";
export { tellRetention } from "./tell-problems.ts";
export { readDatabaseBytes, readUsage, type Usage, type UsageDay } from "./usage.ts";
