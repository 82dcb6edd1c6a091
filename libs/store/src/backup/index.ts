export { ARCHIVE_EVERY_SECONDS, stopArchiving } from "./archive.ts";
export { type ArchiveStatus, archiveStatus } from "./archive-status.ts";
export { type BackUpOptions, type BackUpResult, backUp } from "./back-up.ts";
export { backUpExternal, type ExternalBackUpOptions } from "./back-up-external.ts";
export { type Fenced, fenceDatabase } from "./fence-restored.ts";
export { openHomeDatabase } from "./home-database.ts";
export { type RestoreOptions, type RestoreResult, restoreBackup } from "./restore.ts";
export { type CopyReport, type VerifyReport, verifyBackup } from "./verify.ts";
