import { describe } from "vitest";
import { itKeepsTheSinkContract } from "../conformance.ts";
import { openPostgresHarness } from "../postgres/testing.ts";

describe("postgres.upsert", () => itKeepsTheSinkContract(() => openPostgresHarness("postgres.upsert", { key: ["id"] })));
