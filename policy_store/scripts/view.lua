-- NEEDS: view
-- One consistent read of the current generation.
-- KEYS: control
return view(KEYS[1])
