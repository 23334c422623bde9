-- Rows that are cut in two by a block's end are found by the whole of what they show.

-- The block holds the text of the row that began before it and goes on in it, too.
alter table block add column takes_over integer not null default 0;
