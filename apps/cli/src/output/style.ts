/** Colours and marks, for people on a terminal only. */
export type Style = { readonly [K in "bold" | "dim" | "red" | "green" | "yellow" | "cyan"]: (text: string) => string };

const paint =
  (open: number, close: number, isOn: boolean) =>
  (text: string): string =>
    isOn && text !== "" ? `\u001b[${open}m${text}\u001b[${close}m` : text;

export function createStyle(isOn: boolean): Style {
  return {
    bold: paint(1, 22, isOn),
    dim: paint(2, 22, isOn),
    red: paint(31, 39, isOn),
    green: paint(32, 39, isOn),
    yellow: paint(33, 39, isOn),
    cyan: paint(36, 39, isOn),
  };
}

/** States and verdicts have one colour each, everywhere. */
export function paintState(state: string, style: Style): string {
  switch (state) {
    case "delivered":
    case "running":
    case "done":
    case "ok":
      return style.green(state);
    case "dead":
    case "deleting":
    case "failed":
    case "open":
      return style.red(state);
    case "paused":
    case "waiting":
    case "warning":
    case "interrupted":
    case "receiving":
    case "processing":
      return style.yellow(state);
    case "filtered":
    case "cancelled":
      return style.dim(state);
    default:
      return state;
  }
}
