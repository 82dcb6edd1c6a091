/**
 * What a failure of the driver means for records. Only data faults may become dead letters; when in doubt it is a service fault, which costs time and no data.
 * Codes: PostgreSQL manual, appendix A.
 */
export type FaultClass =
  /** The transaction lost a race: again, at no cost. */
  | "retry"
  /** The statement's data was refused: part until it stands alone. */
  | "data"
  /** The statement failed for a reason of its own (rights, a dropped table, a timeout): other groups may still succeed. */
  | "statement"
  /** Nothing on this connection can succeed now. */
  | "connection";

export type SqlFailure = {
  readonly code: string;
  readonly message: string;
  readonly detail?: string;
  readonly column?: string;
  readonly constraint?: string;
  /** The server has closed the connection. */
  readonly fatal?: true;
};

export function toSqlFailure(error: unknown): SqlFailure {
  if (!(error instanceof Error)) return { code: "", message: String(error) };
  const text = (member: string): string | undefined => {
    const value: unknown = Reflect.get(error, member);
    return typeof value === "string" ? value : undefined;
  };
  const detail = text("detail");
  const column = text("column_name");
  const constraint = text("constraint_name");
  return {
    code: text("code") ?? "",
    message: error.message === "" ? (text("code") ?? error.name) : error.message,
    ...(text("severity") === "FATAL" || text("severity") === "PANIC" ? { fatal: true } : {}),
    ...(detail === undefined ? {} : { detail }),
    ...(column === undefined ? {} : { column }),
    ...(constraint === undefined ? {} : { constraint }),
  };
}

export function classify({ code, fatal }: SqlFailure): FaultClass {
  if (fatal === true) return "connection";
  if (code === "40001" || code === "40P01") return "retry";
  if (!/^[0-9A-Z]{5}$/.test(code) || /^E[A-Z]{4}$/.test(code)) return "connection"; // ECONNRESET, EPIPE, CONNECTION_CLOSED ...
  switch (code.slice(0, 2)) {
    case "22": // data exception
    case "23": // integrity
    case "21": // a key twice in one upsert
    case "44": // WITH CHECK OPTION
    case "54": // an index row too large
    case "P0": // raised by the customer's trigger
      return "data";
    case "08":
    case "28":
    case "3D":
    case "53":
    case "58":
    case "XX":
      return "connection";
    case "57":
      return code === "57014" ? "statement" : "connection";
    default:
      return "statement";
  }
}

/** A value cut to what fits a message. */
export const shorten = (text: string, max = 80): string => (text.length <= max ? text : `${text.slice(0, max - 1)}…`);
