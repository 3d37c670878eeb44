# Compile flags that all code shares, and the functions that make libraries, plugins and tests.

add_library(pare_flags INTERFACE)
target_compile_options(pare_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes
  -Wno-missing-field-initializers -Wvla
  # Contraction would make float results depend on the machine; code that wants fused
  # multiply-adds says so per file.
  -ffp-contract=off)
target_compile_definitions(pare_flags INTERFACE _GNU_SOURCE)
if(PARE_WERROR)
  target_compile_options(pare_flags INTERFACE -Werror)
endif()
if(PARE_SANITIZE)
  target_compile_options(pare_flags INTERFACE -fsanitize=${PARE_SANITIZE} -fno-omit-frame-pointer
                         -fno-sanitize-recover=undefined)
  target_link_options(pare_flags INTERFACE -fsanitize=${PARE_SANITIZE})
endif()

# Headers that plugins see, and nothing else.
add_library(pare_headers INTERFACE)
target_include_directories(pare_headers INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/harness/include>
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)

# Fails the configure if a file of `folder` includes a header of a folder not in `allowed`.
function(pare_check_includes folder sources allowed)
  foreach(source IN LISTS sources)
    file(STRINGS ${source} includes REGEX "^#include \"[a-z]+/")
    foreach(line IN LISTS includes)
      string(REGEX REPLACE "^#include \"([a-z]+)/.*" "\\1" other "${line}")
      if(NOT other STREQUAL folder AND NOT other IN_LIST allowed)
        message(FATAL_ERROR "${source} includes a header of ${other}/, which ${folder}/ may not "
          "depend on (allowed: ${allowed}). Dependencies run one way, see CMakeLists.txt.")
      endif()
    endforeach()
  endforeach()
endfunction()

# pare_library(NAME [DEPENDS other...] [LINK external...]): every .c of this folder as pare_NAME.
function(pare_library name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;LINK" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.c)
  file(GLOB headers CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.h)
  pare_check_includes(${name} "${sources};${headers}" "${ARG_DEPENDS}")
  add_library(pare_${name} STATIC ${sources})
  target_include_directories(pare_${name} PUBLIC ${PROJECT_SOURCE_DIR}/harness/src)
  list(TRANSFORM ARG_DEPENDS PREPEND pare_ OUTPUT_VARIABLE depends)
  target_link_libraries(pare_${name} PUBLIC pare_headers ${depends} PRIVATE pare_flags ${ARG_LINK})
endfunction()

add_custom_target(plugins)

# pare_plugin(NAME SOURCES file... [LINK lib...]): NAME.so in <build>/plugins, seeing only the public
# headers.
function(pare_plugin name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_library(plugin_${name} MODULE ${ARG_SOURCES})
  set_target_properties(plugin_${name} PROPERTIES
    PREFIX "" OUTPUT_NAME ${name} LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/plugins)
  target_link_libraries(plugin_${name} PRIVATE pare_headers pare_flags ${ARG_LINK})
  # A symbol that no library has is found here, and not when the plugin is loaded. (Sanitizers leave some open.)
  if(NOT PARE_SANITIZE)
    target_link_options(plugin_${name} PRIVATE -Wl,-z,defs)
  endif()
  add_dependencies(plugins plugin_${name})
  install(TARGETS plugin_${name} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/pare/plugins)
endfunction()

# pare_test(FILE.c [LINK lib...]): a cmocka program as one ctest, named after the file.
function(pare_test source)
  cmake_parse_arguments(ARG "" "" "LINK" ${ARGN})
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source})
  target_link_libraries(${name} PRIVATE pare_flags ${ARG_LINK} ${CMOCKA_LIBRARIES} m)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/harness/src ${CMOCKA_INCLUDE_DIRS})
  target_compile_definitions(${name} PRIVATE
    TEST_SOURCE_DIR="${PROJECT_SOURCE_DIR}" TEST_BINARY_DIR="${PROJECT_BINARY_DIR}")
  add_test(NAME ${name} COMMAND ${name})
  get_filename_component(label ${CMAKE_CURRENT_SOURCE_DIR} NAME)
  set_tests_properties(${name} PROPERTIES
    ENVIRONMENT "PARE_HOME=${PROJECT_SOURCE_DIR}" TIMEOUT 300 LABELS ${label})
endfunction()
