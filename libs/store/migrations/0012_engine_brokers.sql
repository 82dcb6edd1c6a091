-- How each engine stands with its broker, for doctors and health pages; null: it has none, or is of a release before this. Heap-only updates: no index has them.
alter table onedata.engines add column broker text;
alter table onedata.engines add column broker_state text;
alter table onedata.engines add column broker_since timestamptz;
