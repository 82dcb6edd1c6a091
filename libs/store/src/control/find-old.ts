/** Reads of events that retention may have out of sight: what is still needed of old days moves, which takes milliseconds (`retention/drop-days.ts`). */
import { type BatchId, OneDataError } from "@onedata/core";
import type { Sql, Transaction } from "../connection.ts";

/** What `read` finds of the batch. Throws `event.not_found`, or `store.busy` while nobody can tell. */
export async function findOld<T>(sql: Sql | Transaction, batchId: BatchId, read: () => Promise<T | undefined>): Promise<T> {
  const isMoving = async (): Promise<boolean> => {
    const [row] = await sql<{ moving: boolean }[]>`
      select exists (select from onedata.retention_work where kind = 'events' and state = 'detaching' and upper > ${batchId}) as moving`;
    return row?.moving === true;
  };
  const found = await read();
  if (found !== undefined) return found;
  if (await isMoving()) throw new OneDataError("store.busy", "old events are being moved and cannot be seen for a moment; try again");
  // They may have come back between the two looks.
  const back = await read();
  if (back === undefined) throw new OneDataError("event.not_found", "no event with this id; it may be older than the retention");
  return back;
}
