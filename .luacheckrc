-- Scripts run as Lua 5.4 without globals of their own.
std = "lua54"
globals = {}
max_line_length = 120
-- Declarations for editors define functions without using their arguments.
files["**/*.d.lua"] = { ignore = { "2", "1" } }
