-- Tables that the example pipelines load into. Safe to run again.
create table if not exists orders (id text primary key, price numeric not null, quantity numeric not null, total numeric not null);

create table if not exists movies (
  title text not null, released date not null, us_gross bigint, worldwide_gross bigint, budget bigint, profit bigint, rating text, minutes int, genre text, director text,
  imdb numeric(3, 1), min_age int,
  primary key (title, released)
);

create table if not exists airports (
  iata text primary key, name text, city text, state text, country text, latitude double precision not null, longitude double precision not null, state_name text
);

create table if not exists late_flights (
  departed timestamptz not null, origin text not null, destination text not null, distance int not null, delay_minutes int not null, hours_late numeric not null, hub text
);
