import { ExactNumber, type Json } from "@onedata/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createCast } from "./casts.ts";
import { createDateReader } from "./date-format.ts";

const cast = (target: Json, value: Json): Json | undefined => createCast(target).cast(value);

describe("casts", () => {
  it.each<[Json, Json, Json | undefined]>([
    ["number", "12.5", 12.5],
    ["number", "+007.50", 7.5],
    ["number", ".5", 0.5],
    ["number", "5.", 5],
    ["number", "1e3", 1000],
    ["number", "", undefined],
    ["number", ".", undefined],
    ["number", "0x10", undefined],
    ["number", "Infinity", undefined],
    ["number", "1,000", undefined],
    ["number", true, undefined],
    ["number", [1], undefined],
    ["number", "12345678901234567890", new ExactNumber("12345678901234567890")],
    ["number", "-0", new ExactNumber("-0")],
    ["number", "1e400", new ExactNumber("1e400")],
    [{ type: "number", decimal: ",", group: " " }, "12 345,6", 12345.6],
    [{ type: "number", group: "," }, "1,00", undefined],
    [{ type: "number", group: "," }, "1234", 1234],
    ["integer", "42", 42],
    ["integer", "42.0", 42],
    ["integer", "42.5", undefined],
    ["integer", 42.5, undefined],
    ["integer", "12345678901234567890", new ExactNumber("12345678901234567890")],
    ["boolean", "TRUE", true],
    ["boolean", 0, false],
    ["boolean", "no", false],
    ["boolean", "maybe", undefined],
    ["boolean", 2, undefined],
    ["string", 1.1, "1.1"],
    ["string", new ExactNumber("1e400"), "1e400"],
    ["string", false, "false"],
    ["string", {}, undefined],
    [{ type: "date", format: "unix" }, 1795436733, "2026-11-23T12:25:33.000Z"],
    [{ type: "date", format: "YYYYMMDD" }, 20261123, "2026-11-23"],
    [{ type: "date", format: "iso8601", as: "date" }, "2026-11-23T00:30:00+02:00", "2026-11-22"],
  ])("%j of %j is %j", (target, value, expected) => expect(cast(target, value)).toEqual(expected));

  it("reads back every number it writes", () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (n) => {
        expect(cast("number", String(n))).toBe(n + 0);
      }),
    );
  });
});

describe("dates", () => {
  it.each([
    ["YYYY-MM-DD", "2026-11-23", "2026-11-23"],
    ["YYYY-MM-DD", "2026-1-23", undefined],
    ["YYYY-M-D", "2026-1-3", "2026-01-03"],
    ["YYYY-MM-DD", "2024-02-29", "2024-02-29"],
    ["YYYY-MM-DD", "2023-02-29", undefined],
    ["D MMMM YYYY", "3 november 2026", "2026-11-03"],
    ["DD-MMM-YY", "18-Oct-98", "1998-10-18"],
    ["DD-MMM-YY", "18-Oct-20", "2020-10-18"],
    ["YYYY-MM-DD", "0099-01-01", "0099-01-01"],
    ["M/D/YYYY h:mm A", "7/4/2026 12:05 am", "2026-07-04T00:05:00.000Z"],
    ["M/D/YYYY h:mm A", "7/4/2026 13:05 pm", undefined],
    ["YYYY-MM-DDTHH:mm:ss.SSSZ", "2026-11-23T12:30:00.1239+0130", "2026-11-23T11:00:00.123Z"],
    ["[week of] D.M.YYYY", "week of 3.4.2026", "2026-04-03"],
    ["iso8601", "2026-11-23", "2026-11-23"],
    ["iso8601", "2026-11-23T12:30Z", "2026-11-23T12:30:00.000Z"],
    ["iso8601", "2026-11-23 12:30", undefined],
    ["unixMs", "1795436733120", "2026-11-23T12:25:33.120Z"],
    ["unix", "soon", undefined],
  ])("%s reads %s as %s", (format, text, expected) => expect(createDateReader(format)(text)).toBe(expected));

  it.each([
    ["2026-03-29 01:30", "2026-03-29T00:30:00.000Z"],
    ["2026-03-29 03:30", "2026-03-29T01:30:00.000Z"],
    ["2026-10-25 01:30", "2026-10-24T23:30:00.000Z"],
    ["2026-10-25 02:30", "2026-10-25T00:30:00.000Z"],
    ["2026-10-25 03:00", "2026-10-25T02:00:00.000Z"],
    ["2026-10-25 12:00", "2026-10-25T11:00:00.000Z"],
    ["1990-07-01 12:00", "1990-07-01T10:00:00.000Z"],
  ])("reads %s in Oslo as %s", (text, expected) => expect(createDateReader("YYYY-MM-DD HH:mm", "Europe/Oslo")(text)).toBe(expected));

  it.each([
    ["America/New_York", "2024-03-10 01:59", "2024-03-10T06:59:00.000Z"],
    ["America/New_York", "2024-03-10 02:00", { skippedIn: "America/New_York" }],
    ["America/New_York", "2024-03-10 02:59", { skippedIn: "America/New_York" }],
    ["America/New_York", "2024-03-10 03:00", "2024-03-10T07:00:00.000Z"],
    ["America/New_York", "2024-11-03 01:30", "2024-11-03T05:30:00.000Z"],
    ["Australia/Lord_Howe", "2026-04-05 01:45", "2026-04-04T14:45:00.000Z"],
    ["Australia/Lord_Howe", "2026-10-04 02:15", { skippedIn: "Australia/Lord_Howe" }],
    ["Pacific/Apia", "2011-12-29 23:30", "2011-12-30T09:30:00.000Z"],
    ["Pacific/Apia", "2011-12-30 12:00", { skippedIn: "Pacific/Apia" }],
    ["Pacific/Apia", "2011-12-31 00:00", "2011-12-30T10:00:00.000Z"],
    ["America/Sao_Paulo", "2018-11-04 00:00", { skippedIn: "America/Sao_Paulo" }],
    ["Asia/Kathmandu", "2026-06-01 12:00", "2026-06-01T06:15:00.000Z"],
  ])("of %s, where clocks change, reads %s as %j", (zone, text, expected) =>
    expect(createDateReader("YYYY-MM-DD HH:mm", zone)(text)).toEqual(expected));

  it("reads back the local time of any instant, the earlier one where it comes twice", () => {
    const zones = ["Europe/Oslo", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca", "America/St_Johns"];
    const instants = fc.date({ min: new Date("1990-01-01"), max: new Date("2037-12-31"), noInvalidDate: true });
    fc.assert(
      fc.property(fc.constantFrom(...zones), instants, (timeZone, date) => {
        const local = (at: Date): string => at.toLocaleString("sv-SE", { timeZone });
        const read = createDateReader("YYYY-MM-DD HH:mm:ss", timeZone)(local(date));
        if (typeof read !== "string") throw new Error(`${local(date)} in ${timeZone} is ${JSON.stringify(read)}`);
        expect(local(new Date(read))).toBe(local(date));
        expect(new Date(read).getTime()).toBeLessThanOrEqual(date.getTime());
      }),
      { numRuns: 300 },
    );
  });

  it.each(["+25:00", "-24:00", "+0160", "+99:99"])("knows no offset %s", (offset) => {
    expect(createDateReader("iso8601")(`2024-01-01T00:00:00${offset}`)).toBeUndefined();
    expect(createDateReader("YYYY-MM-DDTHH:mmZ")(`2024-01-01T00:00${offset}`)).toBeUndefined();
  });

  it("takes the offsets that RFC 3339 has", () => {
    expect(createDateReader("iso8601")("2024-01-01T00:00:00+14:00")).toBe("2023-12-31T10:00:00.000Z");
    expect(createDateReader("iso8601")("2024-01-01T00:00:00-23:59")).toBe("2024-01-01T23:59:00.000Z");
  });

  it("says of a skipped time that it is one, and keeps a date of it out", () => {
    const target = { type: "date", format: ["iso8601", "YYYY-MM-DD HH:mm"], timezone: "Europe/Oslo", as: "date" };
    expect(cast(target, "2026-03-29 02:30")).toBeUndefined();
    expect(createCast(target).explain?.("2026-03-29 02:30")).toBe("a time that Europe/Oslo skips, because its clocks go forward then");
    expect(createCast(target).explain?.("soon")).toBeUndefined();
  });

  it.each([
    ["YYYY-MM", "needs a year, a month and a day"],
    ["YYYY-MM-DD hh:mm", "need A"],
    ["YYYY-MM-DD mm", "need an hour"],
    ["YYYY-MM-DD YYYY", "twice"],
    ["YYYY-MM-DD at", "is no token"],
  ])("refuses the format %s", (format, reason) => expect(() => createDateReader(format)).toThrow(reason));

  it("reads back every instant it writes", () => {
    fc.assert(
      fc.property(fc.date({ min: new Date("0100-01-01"), max: new Date("9999-12-31"), noInvalidDate: true }), (date) => {
        expect(createDateReader("iso8601")(date.toISOString())).toBe(date.toISOString());
        expect(createDateReader("unixMs")(String(date.getTime()))).toBe(date.toISOString());
      }),
    );
  });
});
