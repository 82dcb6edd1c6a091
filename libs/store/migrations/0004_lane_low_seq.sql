-- An application's old snapshot keeps dead queue rows from being vacuumed, and a claim would walk over all of them. Engines then start each lane where its
-- waiting rows begin. For ordered lanes that place must be exact, so it stands in the lane: the smallest `seq` of the last claim. What a release or a
-- partial completion puts back is never below it.
alter table onedata.lanes add column low_seq bigint not null default 0;
