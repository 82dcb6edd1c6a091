/**
 * Makes `sql.begin` survive the loss of its connection.
 *
 * The driver (3.4.9) writes to the null socket of a transaction whose connection has closed, from a timer, which ends the process with an uncaught
 * TypeError (porsager/postgres #1066, #1154, #1208). It happens when the callback issues another statement, and when the driver itself sends ROLLBACK or
 * COMMIT after the callback. So: once `begin` has settled, statements on its transaction are refused here; and a callback that ends because, or after, the
 * connection was lost never settles towards the driver, whose `begin` rejects by the close of the connection anyway.
 */
import type postgres from "postgres";

type AnySql = postgres.Sql<{ bigint: bigint }>;
type Work = (transaction: postgres.TransactionSql<{ bigint: bigint }>) => unknown;

/** Replaces `begin` of this client; returns the same client. */
export function guardTransactions(sql: AnySql, isLost: (error: unknown) => boolean): AnySql {
  const begin: (options: string, work: Work) => Promise<unknown> = Reflect.get(sql, "begin");
  const guarded = (...parameters: [Work] | [string, Work]): Promise<unknown> => {
    const state = { over: false };
    const work = parameters.length === 1 ? parameters[0] : parameters[1];
    const run: Work = async (transaction) => {
      try {
        const given = work(guard(transaction, state));
        const result = await (Array.isArray(given) ? Promise.all(given) : given);
        return state.over ? await never() : result;
      } catch (error) {
        if (state.over || isLost(error)) return never();
        throw error;
      }
    };
    const running = begin(parameters.length === 1 ? "" : parameters[0], run);
    const end = (): void => {
      state.over = true;
    };
    running.then(end, end);
    return running;
  };
  Object.defineProperty(sql, "begin", { value: guarded });
  return sql;
}

const never = (): Promise<never> => new Promise(() => undefined);

function guard<T extends postgres.TransactionSql<{ bigint: bigint }>>(transaction: T, state: { readonly over: boolean }): T {
  const check = (): void => {
    if (state.over) throw Object.assign(new Error("the transaction is over: its connection was lost"), { code: "CONNECTION_CLOSED" });
  };
  return new Proxy(transaction, {
    apply(target, self, parameters) {
      check();
      return Reflect.apply(target, self, parameters);
    },
    get(target, name) {
      check();
      return Reflect.get(target, name);
    },
  });
}
