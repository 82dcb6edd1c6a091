-- Files of erased tenants: who writes files removes them, and says so here.
alter table onedata.erasures
  -- the installation writes files: the erasure has not ended before they are removed
  add column awaits_files boolean not null default false,
  -- nothing writes for the tenant any more
  add column files_due_at timestamptz,
  add column files_removed_at timestamptz;
