-- Row-level security: whose rows a connection sees, and may write, is what it says in `deckport.organisation` and
-- `deckport.venue`. What says nothing sees nothing; the collector's own work says `all`. Forced: the tables' owner is
-- bound by it too (a superuser is not).

create function deckport_sees_all() returns boolean language sql stable parallel safe
    return coalesce(current_setting('deckport.organisation', true), '') = 'all';

-- Venue null or empty: of all of the organisation's.
create function deckport_sees(organisation text, venue text) returns boolean language sql stable parallel safe
    return coalesce(current_setting('deckport.organisation', true), '') in ('all', organisation)
        and (coalesce(venue, '') = ''
            or coalesce(current_setting('deckport.venue', true), '') in ('', venue));

-- What belongs to a venue.
create policy wall on console          using (deckport_sees(organisation_id, venue_id));
create policy wall on stream           using (deckport_sees(organisation_id, venue_id));
create policy wall on deployment       using (deckport_sees(organisation_id, venue_id));
create policy wall on phase_history    using (deckport_sees(organisation_id, venue_id));
create policy wall on enrolled_console using (deckport_sees(organisation_id, venue_id));
create policy wall on join_token       using (deckport_sees(organisation_id, venue_id));
create policy wall on audit            using (deckport_sees(organisation_id, venue_id));
create policy wall on saved_search     using (deckport_sees(organisation_id, venue_id));
create policy wall on venue            using (deckport_sees(organisation_id, id));

-- What belongs to an organisation.
create policy wall on organisation     using (deckport_sees(id, null));
create policy wall on operator         using (deckport_sees(organisation_id, null));
create policy wall on signature        using (deckport_sees(organisation_id, null));
create policy wall on signature_run    using (deckport_sees(organisation_id, null));

-- What belongs to one of those: the wall of that table stands in front of it.
create policy wall on tail       using (deckport_sees_all() or exists (select 1 from stream where stream.stream = tail.stream));
create policy wall on block      using (deckport_sees_all() or exists (select 1 from stream where stream.stream = block.stream));
create policy wall on event      using (deckport_sees_all() or exists (select 1 from stream where stream.stream = event.stream));
create policy wall on block_part using (deckport_sees_all() or exists (select 1 from block where block.id = block_part.block_id));
create policy wall on console_certificate using (deckport_sees_all()
    or exists (select 1 from enrolled_console where enrolled_console.console_id = console_certificate.console_id));
create policy wall on operator_role using (deckport_sees_all()
    or exists (select 1 from operator where operator.id = operator_role.operator_id));
create policy wall on operator_identity using (deckport_sees_all()
    or exists (select 1 from operator where operator.id = operator_identity.operator_id));
create policy wall on grant_of_access using (deckport_sees_all()
    or exists (select 1 from operator where operator.id = grant_of_access.operator_id));

-- What was learned from everybody's lines is for the collector itself.
create policy wall on lesson using (deckport_sees_all());

do $$
declare named text;
begin
    for named in select distinct tablename from pg_policies where policyname = 'wall' and schemaname = current_schema() loop
        execute format('alter table %I enable row level security', named);
        execute format('alter table %I force row level security', named);
    end loop;
end $$;
