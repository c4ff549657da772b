-- The roster: only patients (a practitioner's or a device's own history has no person), newest facts of both tables.
SELECT
    known.clinic_id,
    known.subject,
    person.family,
    person.given,
    person.birth_date,
    person.gender,
    person.deceased,
    person.deceased_at,
    ARRAY(
        SELECT problem.value ->> 'text' FROM jsonb_each(person.problems) AS problem ORDER BY problem.key
    ) AS open_problems,
    known.last_event,
    known.last_event_at,
    known.events,
    greatest(known.updated, person.updated) AS updated,
    greatest(known.shaped_by, person.shaped_by) AS shaped_by
FROM clinic_patients AS known
JOIN clinic_patients_person AS person ON person.subject = known.subject
WHERE NOT person.entered_in_error
