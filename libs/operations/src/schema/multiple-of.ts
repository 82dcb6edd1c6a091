/**
 * `multipleOf` in exact decimals. A remainder of doubles refuses 19.99 as a multiple of 0.01, because neither is the number that was written; the shortest
 * decimal text of a double is.
 */

/** Both finite; `divisor` above 0. */
export function isMultipleOf(value: number, divisor: number): boolean {
  if (Number.isSafeInteger(value) && Number.isSafeInteger(divisor)) return value % divisor === 0;
  const of = toDecimal(value);
  const by = toDecimal(divisor);
  const exponent = Math.min(of.exponent, by.exponent);
  return scaled(of, exponent) % scaled(by, exponent) === 0n;
}

type Decimal = { readonly digits: bigint; readonly exponent: number };

/** digits · 10^exponent. */
function toDecimal(value: number): Decimal {
  const [mantissa = "", power = "0"] = String(value).split("e");
  const [whole = "", fraction = ""] = mantissa.split(".");
  return { digits: BigInt(whole + fraction), exponent: Number(power) - fraction.length };
}

const scaled = ({ digits, exponent }: Decimal, to: number): bigint => digits * 10n ** BigInt(exponent - to);
