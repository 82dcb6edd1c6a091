-- When the server was last seen to answer clients. Unlogged on purpose: recovery from a crash, also one that the postmaster lived through, and the promotion of a
-- standby leave it empty, and whoever takes back runs writes it anew. A clean restart keeps it: then the postmaster's start is the later one. (ADR 35)
create unlogged table onedata.server_ready (
  one boolean primary key default true check (one),
  seen_at timestamptz not null default clock_timestamp()
);
insert into onedata.server_ready default values;

-- Since when the server answers clients at the latest; now, as long as nobody has written it down. Leases and deadlines of runs count from here.
create function onedata.server_ready_at() returns timestamptz language sql volatile parallel safe as $$
  select greatest(pg_postmaster_start_time(), coalesce((select seen_at from onedata.server_ready), clock_timestamp()))
$$;
