-- Which versions may write files: exporters ask every second, and most versions have no file sink. On the text, not as jsonb: a plan may hold \u0000.
create index pipeline_versions_files on onedata.pipeline_versions (pipeline_id, version) where plan::text like '%"file.%';
